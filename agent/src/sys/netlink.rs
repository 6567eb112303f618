//! One rtnetlink socket inside one namespace, and requests as values.

use std::{collections::BTreeMap, io};

use futures_util::StreamExt;
use rtnetlink::{
    Handle, new_connection,
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage},
    },
};

use super::{KernelError, netns::Netns};

/// How an object is put into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It must not exist yet.
    New,
    /// What is there is replaced.
    Replace,
}

/// A socket born in a namespace; it stays there whatever thread uses it.
#[derive(Clone)]
pub struct Netlink {
    handle: Handle,
    pub netns: Netns,
}

impl Netlink {
    /// # Errors
    /// What the kernel says.
    pub fn open(netns: &Netns) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let handle = netns.run(move || {
            let _entered = runtime.enter();
            let (connection, handle, _) = new_connection()?;
            runtime.spawn(connection);
            Ok(handle)
        })?;
        Ok(Netlink { handle, netns: netns.clone() })
    }

    /// Puts an object into the kernel.
    ///
    /// # Errors
    /// What the kernel says, with `what` for people.
    pub async fn put(&self, what: &str, message: RouteNetlinkMessage, how: Put) -> Result<(), KernelError> {
        let how = match how {
            Put::New => NLM_F_CREATE | NLM_F_EXCL,
            Put::Replace => NLM_F_CREATE | NLM_F_REPLACE,
        };
        self.acknowledged(what, message, how).await
    }

    /// Changes or removes an object.
    ///
    /// # Errors
    /// What the kernel says, with `what` for people.
    pub async fn change(&self, what: &str, message: RouteNetlinkMessage) -> Result<(), KernelError> {
        self.acknowledged(what, message, 0).await
    }

    async fn acknowledged(&self, what: &str, message: RouteNetlinkMessage, flags: u16) -> Result<(), KernelError> {
        self.request(what, message, NLM_F_ACK | flags).await.map(|_| ())
    }

    /// Every object of a kind.
    ///
    /// # Errors
    /// What the kernel says, with `what` for people.
    pub async fn dump(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
        self.request(what, message, NLM_F_DUMP).await
    }

    async fn request(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        let mut handle = self.handle.clone();
        let mut answers =
            handle.request(message).map_err(|error| KernelError::new(what, io::Error::other(error.to_string())))?;
        let mut objects = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(object) => objects.push(object),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(KernelError::new(what, error.to_io()));
                }
                NetlinkPayload::Overrun(_) => {
                    return Err(KernelError::new(what, io::Error::from_raw_os_error(libc::ENOBUFS)));
                }
                _ => {}
            }
        }
        Ok(objects)
    }

    /// Every interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn links(&self) -> Result<Vec<LinkMessage>, KernelError> {
        let dumped = self.dump("link list", RouteNetlinkMessage::GetLink(LinkMessage::default())).await?;
        Ok(dumped
            .into_iter()
            .filter_map(|object| match object {
                RouteNetlinkMessage::NewLink(link) => Some(link),
                _ => None,
            })
            .collect())
    }

    /// Interface names by index.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn link_names(&self) -> Result<BTreeMap<u32, String>, KernelError> {
        Ok(self.links().await?.iter().filter_map(|link| Some((link.header.index, name_of(link)?.to_owned()))).collect())
    }

    /// Index of the interface with this name.
    ///
    /// # Errors
    /// ENODEV if there is none.
    pub async fn ifindex(&self, ifname: &str) -> Result<u32, KernelError> {
        let names = self.link_names().await?;
        names
            .into_iter()
            .find_map(|(index, name)| (name == ifname).then_some(index))
            .ok_or_else(|| KernelError::new(format!("link {ifname}"), io::Error::from_raw_os_error(libc::ENODEV)))
    }
}

/// The name in a link message.
pub fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}
