//! Sources that are not the segment's: the edge drops them, each counted once, and lets their twins through.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use pathsteer_crds::ownership::{NFT_TABLE, VIP_NETNS};
use pathsteer_lab::network::plan::{INTERNET, LAN};

use crate::kernel::shell;
use crate::stage::Stage;
use crate::talk::{ENDS, socket};

/// Addresses that a host behind the site can take, and that lie in none of its segment's networks.
const FOREIGN: [&str; 2] = ["172.16.9.9", "2001:db8:9::9"];
/// Of each family.
const PACKETS: u32 = 50;

pub fn case(stage: &mut Stage) -> Result<()> {
    let lan = stage.network.host(LAN).clone();
    let [v4, v6] = FOREIGN;
    lan.ip(&format!("address add {v4}/32 dev eth0\naddress add {v6}/128 dev eth0 nodad"))?;
    let outcome = send(stage);
    lan.ip(&format!("address delete {v4}/32 dev eth0\naddress delete {v6}/128 dev eth0"))?;
    outcome
}

fn send(stage: &mut Stage) -> Result<()> {
    let before = spoofed(stage)?;
    let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
    for ((client, server), foreign) in ENDS.into_iter().zip(FOREIGN) {
        let to = SocketAddr::new(server, 20_600);
        let receiver = socket(internet, to)?;
        let forger = socket(lan, SocketAddr::new(foreign.parse()?, 41_600))?;
        let honest = socket(lan, SocketAddr::new(client, 41_600))?;
        for number in 0..PACKETS {
            forger.send_to(&number.to_be_bytes(), to)?;
            honest.send_to(&number.to_be_bytes(), to)?;
        }
        // The last twin was sent after the last forged packet: what was let through has come by then.
        for number in 0..PACKETS {
            let mut bytes = [0; 4];
            let (_, source) = receiver.recv_from(&mut bytes).with_context(|| format!("twin {number} was lost"))?;
            ensure!(source.ip() == client, "a packet from {source} came through");
            ensure!(bytes == number.to_be_bytes(), "twin {number} was lost, {bytes:?} came instead");
        }
    }
    let wanted = before + u64::from(PACKETS) * FOREIGN.len() as u64;
    let counted = spoofed(stage)?;
    ensure!(counted == wanted, "counted are {}, sent were {}", counted - before, wanted - before);
    Ok(())
}

/// Packets that the edge has dropped because of their sources.
fn spoofed(stage: &Stage) -> Result<u64> {
    let text = shell(stage.edge(), VIP_NETNS, &format!("nft list counter inet {NFT_TABLE} spoofed"))?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|count| count.parse().ok()).with_context(|| format!("no count in {text}"))
}
