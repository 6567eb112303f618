//! Probes tell what a path is like.

mod row;

use std::net::SocketAddr;

use pathsteer_lab::clock;
use pathsteer_lab::probe::{self, Prober};
use pathsteer_lab::shape::Discovery;
use row::row;
use std::time::Duration;

#[test]
fn every_hop_is_named_in_its_order_in_both_families() {
    let row = row(&[1_500, 1_500, 1_500]);
    for [client, server] in row.ends() {
        let hops = probe::hops((&row.client, client), server, 8).unwrap();
        let names: Vec<String> =
            hops.into_iter().map(|hop| hop.map_or("silent".into(), |hop| hop.to_string())).collect();
        let wanted = match client.is_ipv4() {
            true => ["10.0.0.2", "10.0.1.2", "10.0.2.9"],
            false => ["fd00::2", "fd00:1::2", "fd00:2::9"],
        };
        assert_eq!(names, wanted);
    }
}

#[test]
fn a_router_that_says_nothing_is_a_gap() {
    let row = row(&[1_500, 1_500]);
    row.routers[0]
        .nft(
            "table ip mute {
                chain out {
                    type filter hook output priority 0
                    icmp type time-exceeded drop
                }
            }",
        )
        .unwrap();
    let [client, server] = row.ends()[0];
    let hops = probe::hops((&row.client, client), server, 8).unwrap();
    assert_eq!(hops, [None, Some(server)]);
}

#[test]
fn the_narrowest_cable_is_named_with_its_mtu_and_what_fits_reaches_the_end() {
    let row = row(&[1_500, 1_400, 1_500]);
    for [client, server] in row.ends() {
        let from = (&row.client, client);
        let fits = probe::complaint(from, server, 1_400).unwrap().expect("nobody listens on that port");
        assert_eq!((fits.from, fits.mtu), (server, None));
        let too_long = probe::complaint(from, server, 1_401).unwrap().expect("the router says so");
        let router = if client.is_ipv4() { "10.0.0.2" } else { "fd00::2" };
        assert_eq!((too_long.from.to_string().as_str(), too_long.mtu), (router, Some(1_400)));
    }
}

#[test]
fn who_obeys_is_refused_by_his_own_kernel_once_the_path_is_known() {
    let row = row(&[1_500, 1_400]);
    for [client, server] in row.ends() {
        let prober = Prober::open(&row.client, client, Discovery::Obey).unwrap();
        let to = SocketAddr::new(server, 33_434);
        prober.send(to, 1_500).unwrap();
        let told = prober.error(to, clock::now() + Duration::from_secs(2)).unwrap().expect("the router says so");
        assert_eq!(told.mtu, Some(1_400));
        let refused = prober.send(to, 1_401).unwrap_err();
        let kernel = refused.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        assert_eq!(kernel, Some(nix::libc::EMSGSIZE), "{refused:#}");
        prober.send(to, 1_400).unwrap();
    }
}
