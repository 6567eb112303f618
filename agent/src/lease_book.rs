//! What networks have lent this node: held until it expires, and kept on disk, so that a restarted agent does not take
//! the addresses away under its tunnels.

use std::collections::BTreeMap;

use pathsteer_agent_core::{Lease, Leases, Lender};
use pathsteer_crds::plan::DhcpSpec;

use crate::{drivers::dhcp::News, state::StateDir, sys::clock};

/// The leases.
pub struct LeaseBook {
    state: StateDir,
    held: Leases,
    /// By slot and lender, what was lost and has not been lent again.
    lost: BTreeMap<(u8, Lender), String>,
}

impl LeaseBook {
    /// Begins with those of the last run that still hold. Those of another boot do not: how long ago that was, only a
    /// clock could tell, and it may be wrong; nor are their addresses in the kernel any more.
    pub fn open(state: StateDir) -> Self {
        let mut book = LeaseBook { held: state.leases(), lost: BTreeMap::new(), state };
        // without a word to the disk: a command that only looks does this beside a running agent
        book.drop_expired();
        book
    }

    /// Those that hold.
    pub fn held(&self) -> &Leases {
        &self.held
    }

    /// What `dhcp` asks for, was lost and has not been lent again, in words.
    pub fn trouble(&self, dhcp: &DhcpSpec) -> Option<String> {
        let lost = self.lost.range((dhcp.slot, Lender::Dhcpv4)..=(dhcp.slot, Lender::Router));
        let lost = lost.filter(|((_, lender), _)| dhcp.ipv4 || *lender != Lender::Dhcpv4);
        let words: Vec<_> = lost.map(|(_, why)| why.clone()).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Writes down what a network lends now, or no longer.
    pub fn take(&mut self, news: News) {
        let News { slot, lender, lease } = news;
        let key = (slot, lender);
        match lease {
            Some(lease) => {
                self.lost.remove(&key);
                self.held.insert(key, lease);
            }
            None => {
                self.held.remove(&key);
            }
        }
        self.save();
    }

    /// Gives up what holds no more, and says whether there was anything.
    pub fn expire(&mut self) -> bool {
        let expired = self.drop_expired();
        if expired {
            self.save();
        }
        expired
    }

    fn drop_expired(&mut self) -> bool {
        let now = clock::since_boot();
        let gone = |lease: &Lease| lease.expires <= now;
        let expired: Vec<_> = self.held.extract_if(.., |_, lease| gone(lease)).collect();
        for ((slot, lender), lease) in &expired {
            tracing::warn!(slot, ?lender, address = ?lease.address, "expired");
            // resolvers alone are not missed: there are the node's own
            if let Some(address) = lease.address {
                let who = if *lender == Lender::Dhcpv4 { "DHCP" } else { "DHCPv6" };
                let why = format!("the lease of {} has expired: no {who} server renewed it", address.addr());
                self.lost.insert((*slot, *lender), why);
            }
        }
        !expired.is_empty()
    }

    fn save(&self) {
        if let Err(error) = self.state.save_leases(&self.held) {
            tracing::warn!(%error, "cannot save leases");
        }
    }
}
