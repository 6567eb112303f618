//! Radios: which one an interface belongs to, and how they are moved. The kernel moves no wireless interface alone.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use futures_util::{StreamExt, TryStreamExt};
use wl_nl80211::{
    Nl80211Attr, Nl80211Command, Nl80211Handle, Nl80211Message, new_connection,
    packet_core::{DefaultNla, NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_generic::GenlMessage,
};

use super::{KernelError, netns::Netns};

/// `NL80211_ATTR_NETNS_FD` of linux/nl80211.h, a descriptor of 32 bits. The crate has the command and not the attribute.
const NETNS_FD: u16 = 219;

/// A socket born in a namespace; `None` where the kernel knows of no radios.
pub struct Nl80211(Option<Nl80211Handle>);

impl Nl80211 {
    /// # Errors
    /// What the kernel says.
    pub async fn open(netns: &Netns) -> Result<Self, KernelError> {
        let runtime = tokio::runtime::Handle::current();
        let opened = netns.run(move || {
            let _entered = runtime.enter();
            let (connection, handle, _) = new_connection()?;
            runtime.spawn(connection);
            Ok(handle)
        });
        let handle = opened.map_err(|error| KernelError::new("nl80211", error))?;
        let is_there = handle.handle.resolve_family::<Nl80211Message>().await.is_ok();
        Ok(Nl80211(is_there.then_some(handle)))
    }

    /// The radios of the namespace's interfaces, by the interfaces' indexes.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn radios(&self) -> Result<BTreeMap<u32, u32>, KernelError> {
        let Some(handle) = &self.0 else { return Ok(BTreeMap::new()) };
        let dumped: Vec<_> = handle
            .interface()
            .get(Vec::new())
            .execute()
            .await
            .try_collect()
            .await
            .map_err(|error| KernelError::new("interfaces of radios", io::Error::other(error)))?;
        let radio_of = |message: &GenlMessage<Nl80211Message>| {
            let (mut index, mut radio) = (None, None);
            for attribute in &message.payload.attributes {
                match attribute {
                    Nl80211Attr::IfIndex(found) => index = Some(*found),
                    Nl80211Attr::Wiphy(found) => radio = Some(*found),
                    _ => {}
                }
            }
            index.zip(radio)
        };
        Ok(dumped.iter().filter_map(radio_of).collect())
    }

    /// Moves `radio` with all its interfaces from this namespace to another one. They keep their names where these are
    /// free, and are down afterwards.
    ///
    /// # Errors
    /// What the kernel says, with `what` for people.
    pub async fn move_radio(&self, what: &str, radio: u32, to: BorrowedFd<'_>) -> Result<(), KernelError> {
        let fail = |error: io::Error| KernelError::new(what, error);
        let mut handle = self.0.clone().ok_or_else(|| fail(io::Error::from_raw_os_error(libc::ENODEV)))?;
        let fd = DefaultNla::new(NETNS_FD, to.as_raw_fd().to_ne_bytes().to_vec());
        let attributes = vec![Nl80211Attr::Wiphy(radio), Nl80211Attr::Other(fd)];
        let message = Nl80211Message { cmd: Nl80211Command::SetWiphyNetns, attributes };
        let mut message = NetlinkMessage::from(GenlMessage::from_payload(message));
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut answers = Box::pin(handle.request(message).await.map_err(|error| fail(io::Error::other(error)))?);
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| fail(io::Error::other(error)))?;
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(fail(error.to_io()));
            }
        }
        Ok(())
    }
}
