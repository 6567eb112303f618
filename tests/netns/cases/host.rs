//! What the node itself has of the network once every card it had is in a namespace of ours: real names from a real
//! resolver, a real SSH server, as before.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;

use super::Case;
use super::treatments::van;
use crate::node::{CONFIG, DEADLINE, LOOK, Node, plug};
use crate::plans::{EDGE, plan};
use crate::server::{Server, dnsmasq};

pub const CASES: &[(&str, Case)] = &[
    ("a_node_whose_cards_are_all_taken_keeps_its_network_its_names_and_its_ssh", keeps),
    ("before_its_first_plan_a_node_keeps_its_network_and_its_names", without_a_plan),
];

/// On the internet, behind both providers.
const SERVER: &str = "198.18.99.1";
const NAME: &str = "www.example.net";
/// Of the crew's segment and of the media's.
const CREW: [&str; 2] = ["172.16.7.1", "2001:db8:7::1"];
const MEDIA: &str = "172.16.8.1";
/// A service of the node that nobody is to reach from outside.
const OTHER_PORT: u16 = 2222;

struct Stage {
    node: Node,
    crew: Host,
    media: Host,
    guest: Host,
    /// By slot: 1 and 2.
    providers: [Host; 2],
    /// The fingerprint of the node's SSH key.
    key: String,
    _daemons: Vec<Daemon>,
}

/// The node has had its network from its cards until now, as any machine: a provider's on wan1, its LANs.
fn stage(name: &'static str) -> Result<Stage> {
    let plan = plan(&mut van()?, EDGE)?;
    let host = |role: &str| Host::new(Box::leak(format!("{name}-{role}").into_boxed_str()));
    let (crew, media, guest) = (host("crew")?, host("media")?, host("guest")?);
    let providers = [host("isp1")?, host("isp2")?];
    let (mut daemons, mut key) = (Vec::new(), String::new());
    let mut node = Node::prepare(name, EDGE)?.begin(|node| {
        for card in plan.cards() {
            let end = match card.as_str() {
                "lan0" => &crew,
                "lan1" => &media,
                "lan2" => &guest,
                "wan1" => &providers[0],
                "wan2" => &providers[1],
                _ => &node.outside,
            };
            plug(&node.host, end, &card)?;
        }
        for (client, lines) in [
            (&crew, "address add 172.16.7.2/24 dev far-lan0\nroute add default via 172.16.7.1"),
            (&crew, "address add 2001:db8:7::2/64 dev far-lan0\nroute add default via 2001:db8:7::1"),
            (&media, "address add 172.16.8.2/24 dev far-lan1\nroute add default via 172.16.8.1"),
            (&guest, "address add 10.77.0.2/24 dev far-lan2\nroute add default via 10.77.0.1"),
        ] {
            client.ip(lines)?;
        }
        for (index, far) in ["192.0.2.1/24 dev far-wan1", "203.0.113.129/25 dev far-wan2"].iter().enumerate() {
            let card = format!("wan{}", index + 1);
            providers[index].ip(&format!("address add {far}\naddress add {SERVER}/32 dev far-{card}"))?;
            let answers = format!("--address=/{NAME}/{SERVER}");
            let (daemon, _) = dnsmasq(&providers[index], format!("{name}-{card}-names"), &card, &[&answers])?;
            daemons.push(daemon);
        }
        node.host.write("/etc/resolv.conf", &format!("nameserver {SERVER}\noptions timeout:1 attempts:1\n"))?;
        node.host.ip(
            "link set lo up\nlink set wan1 up\naddress add 192.0.2.7/24 dev wan1\nroute add default via 192.0.2.1\n\
             link set lan0 up\naddress add 172.16.7.1/24 dev lan0\naddress add 2001:db8:7::1/64 dev lan0 nodad",
        )?;
        let file = "/run/ssh.key";
        node.host.output("dropbearkey", &["-t", "ed25519", "-f", file])?;
        let shown = node.host.output("dropbearkey", &["-y", "-f", file])?;
        let mut words = shown.split_whitespace();
        key = words.rfind(|word| word.starts_with("SHA256:")).context("no fingerprint")?.to_owned();
        let arguments = format!("-F -E -s -r {file} -p 22 -p {OTHER_PORT} -P /run/sshd.pid");
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        let recipe = Recipe { name: format!("{name}-sshd"), program: "dropbear".into(), arguments };
        daemons.push(Daemon::start(&node.host, recipe, Path::new("/run/lab/logs"))?);
        // Before we come. The twin of everything below.
        let begin = pathsteer_lab::clock::now();
        pathsteer_lab::clock::wait_until(begin + DEADLINE, LOOK, || meets(&crew, CREW[0], 22, &key));
        ensure!(meets(&crew, CREW[0], 22, &key) && meets(&crew, CREW[0], OTHER_PORT, &key), "no SSH to begin with");
        ensure!(resolves(&node.host) && reaches(&node.host), "no network to begin with");
        node.keep(&plan, 1)
    })?;
    node.settle()?;
    let cards = node.ip("-br link")?;
    ensure!(!cards.contains("wan") && !cards.contains("lan"), "the node still has cards: {cards}");
    Ok(Stage { node, crew, media, guest, providers, key, _daemons: daemons })
}

fn resolves(host: &Host) -> bool {
    host.output("getent", &["ahostsv4", NAME]).is_ok_and(|found| found.contains(SERVER))
}

fn reaches(host: &Host) -> bool {
    host.output("ping", &["-c", "1", "-W", "1", SERVER]).is_ok()
}

/// Whether who answers `client` at this address and port is the SSH server with `key`.
fn meets(client: &Host, address: &str, port: u16, key: &str) -> bool {
    // It has no account there; by then the server has proven who it is, to somebody who has never met it.
    let asked = format!("timeout 3 dbclient -y -T -p {port} root@{address} true < /dev/null 2>&1");
    let script = format!("HOME=$(mktemp -d /run/lab/ssh.XXXXXX); export HOME; {asked}; rm -r $HOME");
    client.output("sh", &["-c", &script]).is_ok_and(|said| said.contains(key))
}

fn keeps() -> Result<()> {
    let Stage { mut node, crew, media, guest, providers, key, _daemons } = stage("edge60")?;
    node.wait("names resolved", |node| resolves(&node.host) && reaches(&node.host))?;
    for (client, address) in [(&crew, CREW[0]), (&crew, CREW[1]), (&media, MEDIA)] {
        ensure!(meets(client, address, 22, &key), "{} does not find the node's SSH at {address}", client.name);
    }
    // The clients' own flows still go where they belong.
    ensure!(reaches(&node.host) && node.ip("neigh show dev psh0")?.contains("PERMANENT"), "it asks who is at our end");

    for (client, address, port) in [
        (&guest, "10.77.0.1", 22),
        (&guest, CREW[0], 22),
        (&crew, CREW[0], OTHER_PORT),
        (&crew, "169.254.79.1", 22),
        (&providers[0], "192.0.2.7", 22),
    ] {
        ensure!(!meets(client, address, port, &key), "{} finds the node at {address}:{port}", client.name);
    }

    providers[0].ip("link set far-wan1 down")?;
    let took = node.wait("resolved by the other uplink", |node| resolves(&node.host))?;
    println!("edge60: names by the other uplink {took:?} after the first was gone");
    providers[0].ip("link set far-wan1 up")?;
    node.settle()?;

    for script in [
        "ip link del psh0",
        "ip route del default dev psh0",
        "ip route flush dev psh0 proto 77",
        "ip link set psh0 mtu 1280",
        "ip address del 169.254.79.1/30 dev psh0",
        "ip neigh flush dev psh0 nud permanent",
        "ip -n psvip link set psh down",
    ] {
        node.meddle(script)?;
        let healed = node.wait("put right", |node| node.pending() == Some(vec![]) && meets(&crew, CREW[0], 22, &key));
        let healed = healed.with_context(|| script.to_owned())?;
        ensure!(resolves(&node.host), "after `{script}` no name is resolved");
        println!("edge60: `{script}`: right again after {healed:?}");
    }

    // Who has a way of its own uses that, and the segments still find the node.
    plug(&node.host, &node.outside, "mgmt0")?;
    node.ip("link set mgmt0 up")?;
    node.ip("address add 10.99.0.2/24 dev mgmt0")?;
    node.ip("route add default via 10.99.0.1 dev mgmt0 metric 600")?;
    node.settle()?;
    let way = node.ip(&format!("route get {SERVER}"))?;
    ensure!(way.contains("dev mgmt0"), "the node's own way is not preferred: {way}");
    ensure!(meets(&crew, CREW[0], 22, &key), "the node answers the crew by its own way");

    node.kill()?;
    node.teardown()?;
    let left = node.ip("route show table all proto 77")? + &node.ip("-br link")?;
    ensure!(!left.contains("psh") && !left.contains("169.254"), "left: {left}");
    node.ip("link del mgmt0")?;
    node.wait("as before", |node| resolves(&node.host) && meets(&crew, CREW[0], 22, &key))?;
    Ok(())
}

/// Nobody has told it anything yet but which cards are uplinks.
fn without_a_plan() -> Result<()> {
    let host = |role: &str| Host::new(Box::leak(format!("edge61-{role}").into_boxed_str()));
    let providers = [host("isp1")?, host("isp2")?];
    let mut daemons = Vec::new();
    let mut node = Node::prepare("edge61", EDGE)?.begin(|node| {
        for (index, provider) in providers.iter().enumerate() {
            let card = format!("wan{}", index + 1);
            plug(&node.host, provider, &card)?;
            provider.ip(&format!("address add {SERVER}/32 dev far-{card}"))?;
            let (gateway, lends) = [("192.0.2.1", "192.0.2.7"), ("203.0.113.1", "203.0.113.7")][index];
            let server = Server { card: &card, gateway, lends, life: 0 };
            daemons.push(server.start(provider, "edge61", &[&format!("--address=/{NAME}/{SERVER}")])?);
        }
        node.host.write("/etc/resolv.conf", &format!("nameserver {SERVER}\noptions timeout:1 attempts:1\n"))?;
        node.host.ip(
            "link set lo up\nlink set wan1 up\naddress add 192.0.2.7/24 dev wan1\nroute add default via 192.0.2.1",
        )?;
        ensure!(resolves(&node.host) && reaches(&node.host), "no network to begin with");
        let config = node.host.read(CONFIG)? + "bootstrap: {uplinks: {1: wan1, 2: wan2}}\n";
        node.host.write(CONFIG, &config)
    })?;
    let took = node.wait("by the way it is given", |node| {
        let cards = node.ip("-br link").unwrap_or_default();
        !cards.contains("wan") && cards.contains("psh0") && resolves(&node.host) && reaches(&node.host)
    })?;
    println!("edge61: names and network by the way it is given {took:?} after the agent's start");
    node.settle()?;

    providers[0].ip("link set far-wan1 down")?;
    let took = node.wait("resolved by the other uplink", |node| resolves(&node.host))?;
    println!("edge61: names by the other uplink {took:?} after the first was gone");
    providers[0].ip("link set far-wan1 up")?;
    node.settle()?;

    for script in ["ip link del psh0", "ip netns exec psvip nft flush ruleset", "ip netns exec psup1 nft flush ruleset"]
    {
        node.meddle(script)?;
        let healed = node.wait("put right", |node| node.pending() == Some(vec![]) && resolves(&node.host));
        healed.with_context(|| script.to_owned())?;
    }

    // A neighbour of an uplink is not led in, neither to the node nor to where its way begins.
    providers[0].ip("route replace 169.254.79.0/30 via 192.0.2.7")?;
    for (address, nth) in [("169.254.79.1", 1), ("169.254.79.2", 2)] {
        let found = providers[0].output("ping", &["-c", "1", "-W", "1", "-I", "192.0.2.1", address]);
        let denied = node.ip("netns exec psup1 nft list counter inet pathsteer denied")?;
        ensure!(found.is_err() && denied.contains(&format!("packets {nth} ")), "to {address}: {found:?}, {denied}");
    }

    node.kill()?;
    node.teardown()?;
    let left = node.ip("route show table all proto 77")? + &node.ip("-br link")?;
    ensure!(!left.contains("psh") && !left.contains("169.254") && left.contains("wan1"), "left: {left}");
    ensure!(!node.ip("netns list")?.contains("ps"), "namespaces are left: {}", node.ip("netns list")?);
    Ok(())
}
