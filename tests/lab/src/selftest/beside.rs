//! What is beside the paths: other segments, the dish, and those who are on a wire where they do not belong.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::capture::{Recording, inject};
use crate::craft::{ethernet, udp};
use crate::network::Network;
use crate::network::plan::{
    ANCHOR, ANCHOR_HOST, DISH_ADDRESS, DISH_PORT, EDGE, INTERNET, LAN, NEIGHBOUR, RACK, SERVER, UPLINKS, WAN, first_of,
};
use crate::progress::Progress;
use crate::traffic::Marker;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn check(network: &Network, progress: &Progress) -> Result<()> {
    segments(network)?;
    dish(network, progress)?;
    let port = 7_100;
    // The van's card, its provider's router, and the neighbour of both.
    let van = format!("{}.10", UPLINKS[0].private).parse()?;
    intrude(network, (NEIGHBOUR, "eth0"), (UPLINKS[0].router, van), (EDGE, SocketAddr::new(van, port)))?;
    intrude(network, (RACK, "wan0"), (WAN, ANCHOR.into()), (ANCHOR_HOST, SocketAddr::new(ANCHOR.into(), port)))?;
    let inside = first_of(SERVER.into(), 24);
    intrude(network, (RACK, "inet0"), (INTERNET, inside), (ANCHOR_HOST, SocketAddr::new(inside, port)))?;
    progress.say("neighbours see what is on their wires, and put there what they like");
    Ok(())
}

/// Every client answers its gateway in both families.
fn segments(network: &Network) -> Result<()> {
    let edge = network.host(EDGE);
    for segment in network.plan().site(EDGE).segments {
        let (v4, v6) = (first_of(segment.v4.into(), 24), first_of(segment.v6.into(), 64));
        let card = segment.card;
        edge.ip(&format!(
            "address replace {v4}/24 dev {card}
             address replace {v6}/64 dev {card} nodad
             link set {card} up"
        ))?;
        for client in [IpAddr::from(segment.v4), segment.v6.into()] {
            let words = ["-q", "-c", "1", "-W", "5", &client.to_string()];
            edge.output("ping", &words).with_context(|| format!("{} does not answer", segment.client))?;
        }
    }
    // Whoever is behind the edge reaches what it reaches.
    network.host(LAN).output("ping", &["-q", "-c", "1", "-W", "5", &SERVER.to_string()]).map(drop)
}

/// The dish answers whoever comes by its line.
fn dish(network: &Network, progress: &Progress) -> Result<()> {
    let (edge, gateway) = (network.host(EDGE), UPLINKS[1].gateway());
    edge.ip(&format!("route add {DISH_ADDRESS} via {gateway}"))?;
    let said = edge.net.run(|| {
        let mut connection = TcpStream::connect_timeout(&SocketAddr::new(DISH_ADDRESS.into(), DISH_PORT), PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut said = String::new();
        connection.read_to_string(&mut said)?;
        Ok(said)
    })?;
    ensure!(said.ends_with("dish\n"), "the dish says {said:?}");
    progress.say("the dish answers at its address");
    edge.ip(&format!("route delete {DISH_ADDRESS}"))
}

/// `who` sees what `sender` sends to the victim, and the victim gets the same frame once more when `who` repeats it.
fn intrude(
    network: &Network,
    who: (&str, &str),
    (sender, address): (&str, IpAddr),
    (victim, at): (&str, SocketAddr),
) -> Result<()> {
    let (host, card) = who;
    let words = || format!("{host} at {card}");
    let socket = network.host(victim).net.run(|| Ok(UdpSocket::bind(at)?))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let receive = || {
        let mut bytes = [0; 64];
        let (length, from) = socket.recv_from(&mut bytes).with_context(words)?;
        ensure!(bytes[..length] == *Marker::SERVICE.bytes(), "{}: something else came", words());
        Ok(from)
    };
    let recording = Recording::start(&network.host(host).net, card)?;
    let honest = network.host(sender).net.run(|| {
        let socket = UdpSocket::bind((if at.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
        socket.send_to(Marker::SERVICE.bytes(), (address, at.port()))?;
        Ok(())
    });
    honest?;
    let from = receive()?;
    let frames = recording.finish()?;
    let seen = frames.0.iter().find(|frame| Marker::SERVICE.is_in(&frame.bytes)).with_context(words)?;

    inject(&network.host(host).net, card, std::slice::from_ref(&seen.bytes))?;
    ensure!(receive()? == from, "{}: the repeated frame came from elsewhere", words());

    let [destination, source] = [&seen.bytes[..6], &seen.bytes[6..12]].map(|mac| mac.try_into());
    let claimed = SocketAddr::new(from.ip(), 9);
    let forged = ethernet(source?, destination?, &udp(claimed, at, Marker::SERVICE.bytes()));
    inject(&network.host(host).net, card, &[forged])?;
    ensure!(receive()? == claimed, "{}: the forged frame came from elsewhere", words());
    Ok(())
}
