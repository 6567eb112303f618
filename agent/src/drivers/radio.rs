//! Radios of Wi-Fi cards: one may have several interfaces, which go where it goes.

use std::collections::BTreeSet;

use pathsteer_crds::plan::PlanObjects;

use super::Kernel;
use crate::sys::{KernelError, netlink::Netlink, nl80211::Nl80211};

/// A radio, as it is in one namespace.
pub struct Radio {
    nl80211: Nl80211,
    number: u32,
    /// Indexes of its interfaces.
    pub interfaces: BTreeSet<u32>,
}

impl Radio {
    /// The radio of the interface with this index, if it has one.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn of(netlink: &Netlink, index: u32) -> Result<Option<Radio>, KernelError> {
        let nl80211 = Nl80211::open(&netlink.netns).await?;
        let radios = nl80211.radios().await?;
        let Some(number) = radios.get(&index).copied() else { return Ok(None) };
        let interfaces = radios.into_iter().filter(|(_, radio)| *radio == number).map(|(index, _)| index).collect();
        Ok(Some(Radio { nl80211, number, interfaces }))
    }

    /// Moves it into the namespace of `to`. Interfaces whose names are taken there get others.
    ///
    /// # Errors
    /// What the kernel says, with `what` for people.
    pub async fn put_into(&self, what: &str, to: &Netlink) -> Result<(), KernelError> {
        self.nl80211.move_radio(what, self.number, to.netns.fd()).await
    }
}

/// Namespace and index of the interfaces that have come along with a declared one, because they are of the same radio. They
/// are nobody's to configure, and go home with it.
///
/// # Errors
/// What the kernel says.
pub async fn company(kernel: &Kernel, declared: &PlanObjects) -> Result<BTreeSet<(String, u32)>, KernelError> {
    let mut company = BTreeSet::new();
    for link in declared.links.iter().filter(|link| link.card.as_ref().is_some_and(|card| card.radio)) {
        // neither may be there yet
        let Ok(netlink) = kernel.netlink(&link.netns) else { continue };
        let Ok(index) = netlink.ifindex(&link.name).await else { continue };
        let others = Radio::of(netlink, index).await?.into_iter().flat_map(|radio| radio.interfaces);
        company.extend(others.filter(|other| *other != index).map(|other| (link.netns.clone(), other)));
    }
    Ok(company)
}
