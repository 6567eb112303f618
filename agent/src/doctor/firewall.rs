//! Firewalls of others in the node's own namespace that do not let an uplink pass whose card stays there. What one chain
//! accepts, another one still drops: ours cannot let anything through by itself.

use std::collections::BTreeSet;

use pathsteer_crds::ownership::NFT_TABLE;
use serde_json::Value;

use super::{Finding, Known, card, home::Home, or_well};

/// A table of somebody, by family and name.
type Table = (String, String);

/// Looks at every chain that what passes the node goes through.
pub fn examine(known: &Known, home: &Home) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (card, veth) in card::in_place(known) {
        for (table, chain) in closed(&home.nft).into_iter().filter(|(table, _)| !names(&home.nft, table, &veth)) {
            findings.push(finding(&home.nft, &table, &chain, &card, &veth));
        }
    }
    or_well("firewalls of others let uplinks pass whose cards stay", findings)
}

/// Chains that what passes the node goes through and that let nothing pass but what a rule names: by their policy, or by a
/// last rule without a condition.
fn closed(objects: &[Value]) -> BTreeSet<(Table, String)> {
    let mut found = BTreeSet::new();
    for chain in objects.iter().filter_map(|object| object.get("chain")) {
        let (table, name) = (table_of(chain), text(&chain["name"]));
        let is_forward = chain["hook"] == "forward" && ["inet", "ip"].contains(&table.0.as_str());
        let ours = (table.0.as_str(), table.1.as_str()) == ("inet", NFT_TABLE);
        let of_chain = |rule: &&Value| table_of(rule) == table && text(&rule["chain"]) == name;
        let last = objects.iter().filter_map(|object| object.get("rule")).rfind(of_chain);
        let ends = chain["policy"] == "drop" || last.is_some_and(stops_everything);
        if is_forward && !ours && ends {
            found.insert((table, name));
        }
    }
    found
}

/// A rule with nothing but a drop or a reject (and counters, logs).
fn stops_everything(rule: &Value) -> bool {
    let key = |statement: &Value| statement.as_object().and_then(|one| one.keys().next().cloned()).unwrap_or_default();
    let words: Vec<String> = rule["expr"].as_array().into_iter().flatten().map(key).collect();
    let stops = words.iter().any(|word| word == "drop" || word == "reject");
    stops && words.iter().all(|word| ["drop", "reject", "counter", "log"].contains(&word.as_str()))
}

/// Whether anything in `table` names `link`: then somebody has thought of it.
fn names(objects: &[Value], table: &Table, link: &str) -> bool {
    let of_table = objects.iter().filter_map(|object| object.as_object()?.values().next());
    of_table.filter(|body| table_of(body) == *table).any(|body| has(body, link))
}

fn has(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text == word,
        Value::Array(all) => all.iter().any(|one| has(one, word)),
        Value::Object(fields) => fields.values().any(|one| has(one, word)),
        _ => false,
    }
}

fn finding(objects: &[Value], table: &Table, chain: &str, card: &str, veth: &str) -> Finding {
    let (family, name) = table;
    let has_chain = |wanted: &str| {
        let mut chains = objects.iter().filter_map(|object| object.get("chain"));
        chains.any(|chain| table_of(chain) == *table && chain["name"] == wanted)
    };
    if name == "firewalld" {
        let remedy = format!("firewall-cmd --permanent --zone=trusted --add-interface={veth} && firewall-cmd --reload");
        return Finding::failure(format!("firewalld does not let {veth} pass to {card}"), remedy);
    }
    if has_chain("DOCKER-USER") {
        let remedy = format!(
            "iptables -I DOCKER-USER -i {veth} -o {card} -j ACCEPT && iptables -I DOCKER-USER -i {card} -o {veth} -m conntrack \
             --ctstate ESTABLISHED,RELATED -j ACCEPT, at every start of docker"
        );
        return Finding::failure(format!("docker's firewall does not let {veth} pass to {card}"), remedy);
    }
    let remedy = format!(
        "nft insert rule {family} {name} {chain} iifname {veth} oifname {card} accept && nft insert rule {family} {name} \
         {chain} iifname {card} oifname {veth} ct state established,related accept, where that firewall keeps its rules"
    );
    Finding::failure(format!("the nft chain {family} {name} {chain} does not let {veth} pass to {card}"), remedy)
}

fn table_of(body: &Value) -> Table {
    (text(&body["family"]), text(&body["table"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(family: &str, table: &str, name: &str, hook: &str, policy: &str) -> Value {
        json!({"chain": {"family": family, "table": table, "name": name, "hook": hook, "policy": policy}})
    }

    fn rule(table: &str, chain: &str, expr: Value) -> Value {
        json!({"rule": {"family": "inet", "table": table, "chain": chain, "expr": expr}})
    }

    #[test]
    fn a_chain_is_closed_by_its_policy_or_by_a_last_rule_for_everything() {
        let drop_some = rule("mine", "f", json!([{"match": {"op": "=="}}, {"drop": null}]));
        let reject = rule("mine", "f", json!([{"counter": {}}, {"reject": {"type": "icmpx"}}]));
        let open = chain("inet", "mine", "f", "forward", "accept");
        assert!(closed(std::slice::from_ref(&open)).is_empty());
        assert!(closed(&[open.clone(), reject.clone(), drop_some.clone()]).is_empty(), "its last rule has a condition");
        assert_eq!(closed(&[open, drop_some, reject]).len(), 1);
        assert_eq!(closed(&[chain("ip", "filter", "FORWARD", "forward", "drop")]).len(), 1);
        assert!(closed(&[chain("ip", "filter", "INPUT", "input", "drop")]).is_empty(), "not what passes");
        assert!(closed(&[chain("inet", NFT_TABLE, "forward", "forward", "drop")]).is_empty(), "ours");
        assert_eq!(closed(&[chain("ip", NFT_TABLE, "forward", "forward", "drop")]).len(), 1, "called as ours");
    }

    #[test]
    fn a_table_that_names_the_veth_has_thought_of_it() {
        let accept = rule("mine", "f", json!([{"match": {"left": {"meta": {"key": "iifname"}}, "right": "psh3"}}]));
        let table = |name: &str| ("inet".to_owned(), name.to_owned());
        assert!(names(std::slice::from_ref(&accept), &table("mine"), "psh3"));
        assert!(
            !names(std::slice::from_ref(&accept), &table("mine"), "psh30")
                && !names(&[accept], &table("other"), "psh3")
        );
    }
}
