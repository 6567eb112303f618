//! Hosts in a row, joined by plain cables: `client`, as many routers as wanted, `server`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pathsteer_lab::clock;
use pathsteer_lab::host::Host;

/// The last bytes of the client's and the server's address, in both families.
const ENDS: [u8; 2] = [8, 9];

pub struct Row {
    pub client: Host,
    #[allow(dead_code, reason = "each test program is compiled with a copy of its own")]
    pub routers: Vec<Host>,
    pub server: Host,
    cables: usize,
}

/// Joins the hosts; cable `n` carries `mtus[n]` bytes, is `10.0.n.0/24` and `fd00:n::/64`, and its cards are called `right`
/// and `left`. The host towards the client is `.1` on it, the other `.2`; the client is `.8` and the server `.9`.
pub fn row(mtus: &[u16]) -> Row {
    let host = |name| Host::new(name).expect("root makes namespaces");
    let routers: Vec<Host> = (1..mtus.len()).map(|_| host("router")).collect();
    let row = Row { client: host("client"), routers, server: host("server"), cables: mtus.len() };
    let all: Vec<&Host> = [&row.client].into_iter().chain(&row.routers).chain([&row.server]).collect();
    for router in &row.routers {
        router.forward().unwrap();
        // Every error is sent, however fast they come.
        router.sysctl(&[("net/ipv4/icmp_ratelimit", "0"), ("net/ipv6/icmp/ratelimit", "0")]).unwrap();
    }
    for (number, (pair, mtu)) in all.windows(2).zip(mtus).enumerate() {
        let holder = pair[1].command("sleep").arg("60").spawn().unwrap();
        let made =
            pair[0].ip(&format!("link add right mtu {mtu} type veth peer name left mtu {mtu} netns {}", holder.id()));
        let mut holder = holder;
        holder.kill().unwrap();
        holder.wait().unwrap();
        made.unwrap();
        let [near, far] = row.ends_of(number);
        for (host, card, end) in [(pair[0], "right", near), (pair[1], "left", far)] {
            host.ip(&format!(
                "address add 10.0.{number}.{end}/24 dev {card}
                 address add fd00:{number}::{end}/64 dev {card} nodad
                 link set {card} up"
            ))
            .unwrap();
        }
    }
    for (position, host) in all.iter().enumerate() {
        // Towards the server for all but the last, towards the client for all but the first.
        for cable in 0..mtus.len() {
            let [left, right] = [position.wrapping_sub(1), position];
            if cable == left || cable == right {
                continue;
            }
            let (by, next) = if cable > right { (right, row.ends_of(right)[1]) } else { (left, row.ends_of(left)[0]) };
            host.ip(&format!(
                "route add 10.0.{cable}.0/24 via 10.0.{by}.{next}
                 route add fd00:{cable}::/64 via fd00:{by}::{next}"
            ))
            .unwrap();
        }
    }
    // A card whose peer came up after it is ready only when the kernel has looked at it again.
    let ready = clock::wait_until(clock::now() + Duration::from_secs(5), Duration::from_millis(5), || {
        all.iter().all(|host| {
            let shown = host.output("ip", &["-br", "link", "show", "type", "veth"]).unwrap_or_default();
            !shown.is_empty() && shown.lines().all(|line| line.split_whitespace().nth(1) == Some("UP"))
        })
    });
    assert!(ready, "a cable did not come up");
    row
}

impl Row {
    /// The last bytes of the addresses on cable `number`.
    fn ends_of(&self, number: usize) -> [u8; 2] {
        [if number == 0 { ENDS[0] } else { 1 }, if number + 1 == self.cables { ENDS[1] } else { 2 }]
    }

    /// The client's and the server's address, by family.
    pub fn ends(&self) -> [[IpAddr; 2]; 2] {
        let (last, [client, server]) = (self.cables - 1, ENDS);
        let parse = |text: String| text.parse().unwrap();
        [
            [parse(format!("10.0.0.{client}")), parse(format!("10.0.{last}.{server}"))],
            [parse(format!("fd00::{client}")), parse(format!("fd00:{last}::{server}"))],
        ]
    }

    /// The same with ports.
    #[allow(dead_code, reason = "each test program is compiled with a copy of its own")]
    pub fn sockets(&self, client: u16, server: u16) -> [[SocketAddr; 2]; 2] {
        self.ends().map(|[from, to]| [SocketAddr::new(from, client), SocketAddr::new(to, server)])
    }
}
