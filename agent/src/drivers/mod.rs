//! I/O for each noun, deciding nothing: `observe` dumps the kernel into the plan's own types, `put` makes an object as
//! declared whatever was there, `remove` takes it away and is content if it is gone.

pub mod address;
pub mod card;
mod card_settings;
pub mod datapath;
pub mod dhcp;
pub mod lent_sysctl;
pub mod link;
pub mod link_message;
pub mod neighbour;
pub mod nft;
mod radio;
pub mod resolv_conf;
pub mod route;
pub mod rule;
pub mod sysctl;
pub mod wireguard;

use std::{collections::BTreeMap, io};

use crate::sys::{
    KernelError,
    netlink::Netlink,
    netns::{self, Netns},
};
use pathsteer_agent_core::ownership::is_owned_netns;
use pathsteer_crds::ownership;
use pathsteer_wireguard::BackendKind;

/// A socket into the node's own namespace and one into each of ours.
pub struct Kernel {
    /// What a `Tunnel` is made of.
    pub tunnels: BackendKind,
    /// Whether there may be something of ours in the node's own namespace, so that it is worth looking at, too.
    pub at_home: bool,
    host: Netlink,
    owned: BTreeMap<String, Netlink>,
}

impl Kernel {
    /// # Errors
    /// What the kernel says.
    pub fn open(tunnels: BackendKind) -> Result<Self, KernelError> {
        let open = |what: &str, netns: io::Result<Netns>| {
            netns.and_then(|netns| Netlink::open(&netns)).map_err(|error| KernelError::new(what, error))
        };
        let mut owned = BTreeMap::new();
        for name in netns::list().map_err(|error| KernelError::new("netns list", error))? {
            if is_owned_netns(&name) {
                let netlink = open(&format!("netns {name}"), Netns::open(&name))?;
                owned.insert(name, netlink);
            }
        }
        Ok(Kernel { tunnels, at_home: false, host: open("netns", Netns::current())?, owned })
    }

    /// Makes a namespace and takes it in.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn create_netns(&mut self, name: &str) -> Result<(), KernelError> {
        netns::create(name)
            .and_then(|()| Netlink::open(&Netns::open(name)?))
            .map(|netlink| {
                self.owned.insert(name.to_owned(), netlink);
            })
            .map_err(|error| KernelError::new(format!("netns add {name}"), error))
    }

    /// Removes a namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn delete_netns(&mut self, name: &str) -> Result<(), KernelError> {
        self.owned.remove(name);
        netns::delete(name).map_err(|error| KernelError::new(format!("netns delete {name}"), error))
    }

    /// Names of the namespaces that are ours.
    pub fn owned(&self) -> impl Iterator<Item = (&str, &Netlink)> {
        self.owned.iter().map(|(name, netlink)| (name.as_str(), netlink))
    }

    /// Where things of ours may be: our namespaces, and the node's own under the empty name.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Netlink)> {
        self.at_home.then_some((ownership::HOST, &self.host)).into_iter().chain(self.owned())
    }

    /// The socket into `netns`; the empty name is the node's own.
    ///
    /// # Errors
    /// `NotFound` if it is neither.
    pub fn netlink(&self, netns: &str) -> Result<&Netlink, KernelError> {
        if netns.is_empty() {
            return Ok(&self.host);
        }
        self.owned.get(netns).ok_or_else(|| {
            KernelError::new(format!("netns {netns}"), io::Error::new(io::ErrorKind::NotFound, "it does not exist"))
        })
    }
}

/// Success, also when what should go was gone: ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL are how the kernel words it for
/// links, rules, routes and addresses.
fn gone_is_fine(result: Result<(), KernelError>) -> Result<(), KernelError> {
    match result {
        Err(error)
            if matches!(
                error.source.raw_os_error(),
                Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}
