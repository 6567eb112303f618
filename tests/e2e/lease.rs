//! Leases: what the uplinks have is what the providers have given to their cards.

use anyhow::{Context, Result, ensure};
use pathsteer_lab::network::plan::{EDGE, UPLINKS};

use crate::kernel::shell;
use crate::stage::Stage;

pub fn case(stage: &mut Stage) -> Result<()> {
    let reported = stage.report(EDGE)?.uplinks;
    for uplink in &UPLINKS {
        let netns = pathsteer_crds::ownership::uplink_netns(uplink.slot);
        let link = shell(stage.edge(), &netns, &format!("ip -o link show dev {}", uplink.card))?;
        let words: Vec<&str> = link.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "link/ether").context("the card has no address")?;
        let card = words[at + 1];
        // dnsmasq writes: expiry, card, address, host name, client identifier.
        let book = std::fs::read_to_string(format!("/run/lab/dhcp-{}", uplink.name))?;
        let entry = book.lines().find(|line| line.split(' ').nth(1) == Some(card));
        let address = entry.and_then(|line| line.split(' ').nth(2));
        let address = address.with_context(|| format!("{} has leased nothing to {card}: {book}", uplink.name))?;
        ensure!(address.starts_with(uplink.private), "{} has leased {address}", uplink.name);
        let report = reported.iter().find(|report| report.slot == uplink.slot).context("an uplink is not reported")?;
        ensure!(
            report.address.as_deref() == Some(&format!("{address}/24")),
            "reported is {report:?}, leased {address}"
        );
        ensure!(report.gateway == Some(uplink.gateway()), "reported is {report:?}");
        let addresses = shell(stage.edge(), &netns, &format!("ip -4 -o address show dev {}", uplink.card))?;
        ensure!(addresses.contains(&format!(" {address}/24 ")), "the card has {addresses}");
    }
    Ok(())
}
