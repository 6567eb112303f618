//! Two hosts and one emulated line between them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use pathsteer_lab::emulator::{Link, Profile};
use pathsteer_lab::host::Host;
use pathsteer_lab::traffic::Ends;

pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// 10 ms each way and nothing else.
pub const LINE: Profile = Profile::delay(Duration::from_millis(10));

pub struct Pair {
    pub ends: Ends,
    pub link: Link,
}

/// A pair that speaks IPv4 only: router solicitations and reports of groups would be frames that nobody in the test sent.
/// Needs root, as everything here does.
#[allow(dead_code, reason = "each test program is compiled with a copy of its own")]
pub fn pair() -> Pair {
    make("1")
}

/// A pair that speaks both families.
#[allow(dead_code, reason = "each test program is compiled with a copy of its own")]
pub fn dual_pair() -> Pair {
    let pair = make("0");
    for (host, v6) in [(&pair.ends.client, CLIENT6), (&pair.ends.server, SERVER6)] {
        host.ip(&format!("address add {v6}/64 dev e0 nodad")).unwrap();
    }
    pair
}

fn make(disable_ipv6: &str) -> Pair {
    let (client, server) = (Host::new("client").expect("root makes namespaces"), Host::new("server").unwrap());
    for host in [&client, &server] {
        host.sysctl(&[("net/ipv6/conf/default/disable_ipv6", disable_ipv6)]).unwrap();
    }
    let link = Link::start((&client.net, "e0"), (&server.net, "e0"), LINE, LINE).unwrap();
    client.ip(&format!("address add {CLIENT}/24 dev e0\nlink set e0 up")).unwrap();
    server.ip(&format!("address add {SERVER}/24 dev e0\nlink set e0 up")).unwrap();
    let ends = Ends {
        client,
        client_address: CLIENT.into(),
        client_interface: "e0",
        server,
        server_address: SERVER.into(),
        server_interface: "e0",
    };
    Pair { ends, link }
}
