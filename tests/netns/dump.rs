//! What is in a kernel, as the usual tools tell it: normalised, so that two dumps of the same state are the same text.

use anyhow::{Context, Result};
use pathsteer_agent_core::ownership::is_owned_netns;
use pathsteer_crds::ownership::{HOST_VETH, ROUTE_PROTOCOL};
use pathsteer_lab::host::Host;
use serde_json::Value;

/// What changes by itself, or with every interface and rule made anew.
const VOLATILE: [&str; 15] = [
    "ifindex",
    "link_index",
    "link_netnsid",
    "min_mtu",
    "max_mtu",
    "stats",
    "stats64",
    "handle",
    "counter",
    "operstate",
    "valid_life_time",
    "preferred_life_time",
    "used",
    "confirmed",
    "updated",
];

/// Everything about the namespaces of ours on `host` that a plan decides.
pub fn ours(host: &Host) -> Result<String> {
    let mut all = String::new();
    for netns in namespaces(host)?.iter().filter(|name| is_owned_netns(name)) {
        all += &format!("== {netns}\n");
        let links = ip(host, netns, "-d link")?;
        // How tunnels are called by chance (IPv6 link-local) is nobody's state.
        let addresses = ip(host, netns, "address")?;
        let of =
            |link: &Value, fields: &[&str]| fields.iter().map(|field| format!(" {}", link[field])).collect::<String>();
        let addresses = addresses.as_array().into_iter().flatten().flat_map(|link| {
            let inside = link["addr_info"].as_array().into_iter().flatten().filter(|one| one["scope"] != "link");
            inside.map(|one| format!("address {} {one}\n", link["ifname"]))
        });
        all += &sorted(addresses.collect()).concat();
        let links = links.as_array().into_iter().flatten();
        let up = |link: &Value| link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
        let links = links.map(|link| format!("link{} up {}\n", of(link, &["ifname", "mtu", "gso_max_segs"]), up(link)));
        all += &sorted(links.collect()).concat();
        for family in ["-4", "-6"] {
            all += &lines("rule", &ip(host, netns, &format!("{family} rule"))?, |_| true);
            let routes = ip(host, netns, &format!("{family} route show table all"))?;
            all += &lines("route", &routes, |route| route["protocol"] != "kernel");
        }
        all += &lines("neighbour", &ip(host, netns, "neigh show nud permanent")?, |_| true);
        all += &ruleset(host, &["netns", "exec", netns, "nft", "-j", "list", "ruleset"])?;
        let programs = host.output("ip", &["netns", "exec", netns, "bpftool", "-j", "net", "show"])?;
        let programs: Value = serde_json::from_str(&programs).context(programs)?;
        let attached = programs[0]["tc"].as_array().into_iter().flatten();
        let attached = attached.map(|one| format!("program{}\n", of(one, &["devname", "kind", "name"])));
        all += &sorted(attached.collect()).concat();
    }
    Ok(all + &way_out(host)?)
}

/// What of the node's own namespace is its way out by us.
fn way_out(host: &Host) -> Result<String> {
    let link = HOST_VETH.0;
    if host.output("ip", &["link", "show", link]).is_err() {
        return Ok(String::new());
    }
    let mut all = String::from("== the node's own\n");
    for family in ["-4", "-6"] {
        let words = format!("{family} route show table all dev {link} proto {ROUTE_PROTOCOL}");
        all += &lines("route", &ip(host, "", &words)?, |_| true);
        let addresses = ip(host, "", &format!("{family} address show dev {link} scope global"))?;
        let addresses = addresses.as_array().into_iter().flatten();
        all +=
            &sorted(addresses.map(|one| format!("address {} {}\n", one["mtu"], one["addr_info"])).collect()).concat();
    }
    Ok(all + &lines("neighbour", &ip(host, "", &format!("neigh show dev {link} nud permanent"))?, |_| true))
}

/// Names of the namespaces on `host`, sorted.
pub fn namespaces(host: &Host) -> Result<Vec<String>> {
    let listed = host.output("ip", &["netns", "list"])?;
    Ok(sorted(listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()))
}

/// What `ip -j` says about `words` in `netns`; the empty name is the node's own.
pub fn ip(host: &Host, netns: &str, words: &str) -> Result<Value> {
    let place: &[&str] = if netns.is_empty() { &[] } else { &["-n", netns] };
    let text = host.output("ip", &[place, &["-j"], &words.split(' ').collect::<Vec<_>>()].concat())?;
    let mut json = if text.trim().is_empty() { Value::Array(vec![]) } else { serde_json::from_str(&text)? };
    calm(&mut json);
    Ok(json)
}

fn ruleset(host: &Host, words: &[&str]) -> Result<String> {
    let text = host.output("ip", words)?;
    let mut json: Value = serde_json::from_str(&text).context(text)?;
    calm(&mut json);
    Ok(lines("nft", &json["nftables"], |_| true))
}

fn calm(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(calm),
        Value::Object(fields) => {
            fields.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            fields.values_mut().for_each(calm);
        }
        _ => {}
    }
}

fn lines(what: &str, list: &Value, keep: impl Fn(&Value) -> bool) -> String {
    let all = list.as_array().into_iter().flatten().filter(|one| keep(one));
    sorted(all.map(|one| format!("{what} {one}\n")).collect()).concat()
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}

/// The lines in which two dumps differ, for a message.
pub fn difference(before: &str, after: &str) -> String {
    let gone = before.lines().filter(|line| !after.lines().any(|other| other == *line)).map(|line| format!("- {line}"));
    let new = after.lines().filter(|line| !before.lines().any(|other| other == *line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}
