//! Two hosts and one emulated line between them.

use std::net::Ipv4Addr;
use std::time::Duration;

use pathsteer_lab::emulator::{Link, Profile};
use pathsteer_lab::host::Host;
use pathsteer_lab::traffic::Ends;

pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// 10 ms each way and nothing else.
pub const LINE: Profile = Profile {
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    loss_ppm: 0,
    rate_bps: 0,
    queue_packets: 1_000,
};

pub struct Pair {
    pub ends: Ends,
    pub link: Link,
}

/// Needs root, as everything here does.
pub fn pair() -> Pair {
    let (client, server) = (Host::new("client").expect("root makes namespaces"), Host::new("server").unwrap());
    for host in [&client, &server] {
        // Router solicitations would be frames that nobody in the test sent.
        host.sysctl(&[("net/ipv6/conf/default/disable_ipv6", "1")]).unwrap();
    }
    let link = Link::start((&client.net, "e0"), (&server.net, "e0"), LINE, LINE).unwrap();
    client.ip(&format!("address add {CLIENT}/24 dev e0\nlink set e0 up")).unwrap();
    server.ip(&format!("address add {SERVER}/24 dev e0\nlink set e0 up")).unwrap();
    let ends = Ends {
        client,
        client_address: CLIENT,
        client_interface: "e0",
        server,
        server_address: SERVER,
        server_interface: "e0",
    };
    Pair { ends, link }
}
