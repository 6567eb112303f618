//! Everything that is not ours: of the node's own network namespace, of every namespace of others, and of the node itself.
//! Nothing is normalised away but what changes by itself: numbers and handles that the kernel gives stay, so that something
//! that was taken away and made again is seen, too.

mod node;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pathsteer_agent_core::ownership::is_owned_netns;
use pathsteer_crds::ownership::{HOST_VETH, NFT_TABLE, in_place_veth, path_table};
use pathsteer_lab::host::Host;
use serde_json::{Deserializer, Value};

/// What of the node's own namespace is ours for now, and left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ours<'a> {
    /// Cards that are taken. While there are any, so is the node's own way out.
    pub cards: &'a [&'a str],
    /// The card that stays there, and the slot whose uplink it carries: their veth, rule, table, nft table and the four
    /// sysctls that are lent.
    pub in_place: Option<(&'a str, u8)>,
}

/// Counts, ages and timers.
const VOLATILE: [&str; 13] = [
    "stats",
    "stats64",
    "packets",
    "bytes",
    "operstate",
    "valid_life_time",
    "preferred_life_time",
    "used",
    "confirmed",
    "updated",
    "expires",
    // how this namespace calls another one, from the first time that it is asked
    "link_netnsid",
    "probes",
];

/// What a namespace says about itself, in sections that begin with `== `. JSON where a tool knows it.
const TOOLS: &str = r#"
    set -e
    echo "== link"; printf 'link\naddress\nneigh show nud permanent\nneigh show proxy\nnexthop\n' | ip -j -d -N -batch -
    echo "== route"; printf 'rule\nroute show table all\n' | ip -4 -j -d -N -batch -
    echo "== route6"; printf 'rule\nroute show table all\n' | ip -6 -j -d -N -batch -
    echo "== addrlabel"; ip addrlabel
    echo "== xfrm"; ip xfrm state; ip xfrm policy
    echo "== bridge"; bridge -j -d link; bridge -j vlan
    echo "== fdb"; bridge -j fdb
    echo "== qdisc"; tc -j -d qdisc
    for dev in $(tc qdisc | sed -nE 's/^qdisc (clsact|ingress|prio|htb) .* dev ([^ ]+) .*/\2/p' | sort -u); do
        for hook in "" ingress egress; do
            echo "== filter $dev $hook"; tc -j filter show dev "$dev" $hook
            echo "== chain $dev $hook"; tc -j chain show dev "$dev" $hook
        done
        echo "== class $dev"; tc class show dev "$dev"
    done
    echo "== nft"; nft -j list ruleset
    echo "== bpf"; bpftool -j net show
    echo "== wireguard"; wg show all dump
"#;

/// Everything on `host` that is not ours.
pub fn dump(host: &Host, ours: &Ours<'_>) -> Result<String> {
    let mut all = node::dump(host)?;
    let named = crate::dump::namespaces(host)?;
    // a name without a namespace is a file like others
    let is_there = |name: &&str| !is_owned_netns(name) && host.output("ip", &["netns", "exec", name, "true"]).is_ok();
    for place in named.iter().map(String::as_str).filter(is_there).chain([""]) {
        let words: &[&str] = if place.is_empty() { &[] } else { &["ip", "netns", "exec", place] };
        let words = [words, &["sh", "-c", TOOLS]].concat();
        let said = host.output(words[0], &words[1..]).with_context(|| format!("asking {place:?}"))?;
        let mut lines: Vec<String> = Vec::new();
        for section in said.split("== ").skip(1) {
            let (title, text) = section.split_once('\n').unwrap_or((section, ""));
            let is_ours = |row: &Value| place.is_empty() && ours.has(title, row);
            // Of what a bridge has learned it forgets again; the kernel's way to multicast groups comes with a link's carrier.
            let lasts = |row: &Value| match title {
                "fdb" => row["state"] == "permanent" || row["state"] == "static",
                "route6" => row["dst"] != "ff00::/8",
                _ => true,
            };
            lines.extend(
                rows(text).filter(lasts).filter(|row| !is_ours(row)).map(|row| format!("{place} {title} {row}\n")),
            );
        }
        lines.extend(sysctls(host, place, ours)?);
        lines.sort();
        all.extend(lines);
    }
    Ok(all)
}

/// The elements of JSON lists, however they are packed, or the lines of something else.
fn rows(text: &str) -> impl Iterator<Item = Value> {
    let parsed: Result<Vec<Value>, _> = Deserializer::from_str(text).into_iter().collect();
    let mut rows = match parsed {
        Ok(parsed) => parsed.into_iter().flat_map(unpacked).collect(),
        Err(_) => text.lines().map(|line| Value::from(line.trim_end())).collect::<Vec<Value>>(),
    };
    rows.iter_mut().for_each(calm);
    rows.into_iter()
}

fn unpacked(value: Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all.into_iter().flat_map(unpacked).collect(),
        // `{"nftables": […]}`, and what bpftool says by hook
        Value::Object(fields) if !fields.is_empty() && fields.values().all(Value::is_array) => {
            fields.into_iter().flat_map(|(_, list)| unpacked(list)).collect()
        }
        other => vec![other],
    }
}

fn calm(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(calm),
        Value::Object(fields) => {
            fields.retain(|name, _| !VOLATILE.contains(&name.as_str()) && !name.ends_with("_timer"));
            // A link that has just come up says so for up to a second, with its operstate.
            let flags = fields.get_mut("flags").and_then(Value::as_array_mut);
            flags.into_iter().for_each(|flags| flags.retain(|flag| flag != "NO-CARRIER"));
            fields.values_mut().for_each(calm);
        }
        _ => {}
    }
}

impl Ours<'_> {
    fn has(&self, title: &str, row: &Value) -> bool {
        let is_card = |name: &str| self.is_ours(name);
        let Some((_, slot)) = self.in_place else { return named(title, row, is_card) };
        let veth = in_place_veth(slot).0;
        let of_table = |one: &Value| one["family"] == "inet" && (one["table"] == NFT_TABLE || one["name"] == NFT_TABLE);
        let by_table = row["table"] == *path_table(slot, 0).to_string() && row["protocol"] == "77";
        named(title, row, |name| is_card(name) || name == veth)
            || by_table
            || (title == "nft" && row.as_object().is_some_and(|object| object.values().any(of_table)))
    }

    fn has_sysctl(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        let Some((card, slot)) = self.in_place else { return parts.any(|part| self.is_ours(part)) };
        let lent = ["forwarding", "rp_filter"].map(|key| format!("/proc/sys/net/ipv4/conf/{card}/{key}"));
        lent.contains(&path.to_owned()) || parts.any(|part| self.is_ours(part) || part == in_place_veth(slot).0)
    }

    fn is_ours(&self, link: &str) -> bool {
        self.cards.contains(&link) || link == HOST_VETH.0 && !self.cards.is_empty()
    }
}

/// Whether `row` is about an interface of these names.
fn named(title: &str, row: &Value, is_it: impl Fn(&str) -> bool) -> bool {
    let of_filter = title.split(' ').nth(1);
    let fields = ["ifname", "dev", "devname", "iif"].map(|field| row[field].as_str());
    fields.into_iter().chain([of_filter]).flatten().any(is_it)
}

/// Every setting below `/proc/sys/net` in `place`.
fn sysctls(host: &Host, place: &str, ours: &Ours<'_>) -> Result<Vec<String>> {
    let read = || {
        let (mut all, mut folders) = (Vec::new(), vec![Path::new("/proc/sys/net").to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.to_string_lossy().into_owned();
                if place.is_empty() && ours.has_sysctl(&name) || name.ends_with("/nf_conntrack_count") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(value) = fs::read_to_string(&path) {
                    all.push(format!("{place} sysctl {name} = {}\n", value.trim_end()));
                }
            }
        }
        Ok(all)
    };
    if place.is_empty() { host.inside(read) } else { host.namespace(place)?.run(read) }
}
