//! A device's persistent TUN: attached to, never made here, and swapped under a running device when it was made anew.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use nix::net::if_::if_nametoindex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tun_rs::{AsyncDevice, DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN};

use crate::netns::{Netns, NetnsId};

/// The largest packet a TUN with virtio headers gives or takes: 64 KiB before segmentation, and the header.
const MAX_READ: usize = VIRTIO_NET_HDR_LEN + 65_535;
/// How long the reader lets a TUN rest that answers with an error (administratively down, or deleted): a poll would
/// return at once, so without a rest it spins.
const REST: Duration = Duration::from_millis(20);

/// The attachment to a TUN.
pub(crate) struct Tun {
    netns: NetnsId,
    index: u32,
    device: watch::Sender<Arc<AsyncDevice>>,
    mtu: watch::Sender<u16>,
}

/// What the kernel has under a TUN's name.
struct Attachment {
    netns: NetnsId,
    index: u32,
    mtu: u16,
    device: AsyncDevice,
}

impl Tun {
    /// Attaches to the TUN `link` in the namespace called `netns`. Must be called in the runtime.
    ///
    /// # Errors
    /// No such namespace (`NotFound`) or link (`ENODEV`); another process is attached (`EBUSY`).
    pub(crate) fn attach(netns: &str, link: &str) -> io::Result<(Tun, TunReader, TunWriter)> {
        let Attachment { netns, index, mtu, device } = attach(&Netns::open(netns)?, link)?;
        let (device, attached) = watch::channel(Arc::new(device));
        let (mtu, mtu_seen) = watch::channel(mtu);
        let (packets, queue) = mpsc::channel(1024);
        tokio::spawn(write(attached.clone(), queue));
        let reader = TunReader {
            device: attached,
            mtu: mtu_seen,
            unsegmented: vec![0; MAX_READ],
            segments: Vec::with_capacity(IDEAL_BATCH_SIZE),
            sizes: vec![0; IDEAL_BATCH_SIZE],
            packets: Vec::with_capacity(IDEAL_BATCH_SIZE),
        };
        Ok((Tun { netns, index, device, mtu }, reader, TunWriter(packets)))
    }

    /// Follows what happened to the TUN: attaches to one made anew under the same name, takes over a changed MTU.
    /// Says whether it is another TUN than before.
    ///
    /// # Errors
    /// As [`Tun::attach`]; the old attachment then stays, and works if its TUN does.
    pub(crate) fn follow(&mut self, netns: &Netns, link: &str) -> io::Result<bool> {
        let device = self.device.borrow().clone();
        let (index, mtu) = netns.visit(|| {
            let index = if_nametoindex(link)?;
            // An attachment whose TUN is gone has no MTU, whatever has the index now.
            Ok((index, if index == self.index { device.mtu().ok() } else { None }))
        })?;
        if let Some(mtu) = mtu {
            self.mtu.send_if_modified(|known| std::mem::replace(known, mtu) != mtu);
            return Ok(false);
        }
        let attachment = attach(netns, link)?;
        tracing::info!(link, from = self.index, to = index, "TUN was made anew, attached again");
        self.index = attachment.index;
        self.mtu.send_replace(attachment.mtu);
        self.device.send_replace(Arc::new(attachment.device));
        Ok(true)
    }

    /// Which namespace the TUN is in.
    pub(crate) fn netns(&self) -> NetnsId {
        self.netns
    }
}

fn attach(netns: &Netns, link: &str) -> io::Result<Attachment> {
    let runtime = Handle::current();
    let id = netns.id()?;
    netns.visit(|| {
        // Asked first: opening a TUN under a name that is not there makes one, which nobody declared.
        let index = if_nametoindex(link)?;
        let _inside = runtime.enter();
        let device = DeviceBuilder::new().name(link).offload(true).inherit_enable_state().build_async()?;
        Ok(Attachment { netns: id, index, mtu: device.mtu()?, device })
    })
}

/// Packets from the kernel. Big TCP and UDP sends arrive in one piece and are segmented here.
pub(crate) struct TunReader {
    device: watch::Receiver<Arc<AsyncDevice>>,
    mtu: watch::Receiver<u16>,
    unsegmented: Vec<u8>,
    segments: Vec<Segment>,
    sizes: Vec<usize>,
    packets: Vec<Packet<Ip>>,
}

/// A packet buffer that `recv_multiple` may write to.
struct Segment(Packet<[u8]>);

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Segment {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl IpRecv for TunReader {
    /// Never fails: a TUN that is down or gone may come back, and an error would end the device for good.
    async fn recv<'a>(
        &'a mut self,
        pool: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        let TunReader { device, mtu: _, unsegmented, segments, sizes, packets } = self;
        segments.resize_with(IDEAL_BATCH_SIZE, || Segment(pool.get()));
        let count = loop {
            let attached = device.borrow_and_update().clone();
            let read = tokio::select! {
                read = attached.recv_multiple(unsegmented, segments, sizes, 0) => read,
                _ = device.changed() => continue,
            };
            match read {
                Ok(count) => break count,
                Err(error) if error.raw_os_error().is_some() => {
                    let _ = timeout(REST, device.changed()).await;
                }
                // One packet that could not be taken apart.
                Err(error) => tracing::debug!(%error, "packet from the TUN dropped"),
            }
        };
        for (segment, size) in segments.iter_mut().zip(sizes).take(count) {
            let mut packet = std::mem::replace(&mut segment.0, pool.get());
            packet.truncate(*size);
            packets.extend(packet.try_into_ip().ok());
        }
        Ok(packets.drain(..))
    }

    fn mtu(&self) -> MtuWatcher {
        self.mtu.clone().into()
    }
}

/// Packets to the kernel, by way of a task that writes as many at once as are waiting.
pub(crate) struct TunWriter(mpsc::Sender<Packet<Ip>>);

impl IpSend for TunWriter {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        self.0.send(packet).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

async fn write(mut device: watch::Receiver<Arc<AsyncDevice>>, mut queue: mpsc::Receiver<Packet<Ip>>) {
    let mut coalescing = GROTable::default();
    let mut batch = Vec::with_capacity(IDEAL_BATCH_SIZE);
    let mut buffers: Vec<BytesMut> = Vec::with_capacity(IDEAL_BATCH_SIZE);
    while queue.recv_many(&mut batch, IDEAL_BATCH_SIZE).await > 0 {
        // Room for 64 KiB each, though a packet needs 1.5: the rest of a flow's packets are appended to its first.
        // Pages that are never written to cost nothing.
        let count = batch.len();
        while buffers.len() < count {
            buffers.push(BytesMut::with_capacity(MAX_READ + VIRTIO_NET_HDR_LEN));
        }
        for (buffer, packet) in buffers.iter_mut().zip(batch.drain(..)) {
            buffer.clear();
            buffer.resize(VIRTIO_NET_HDR_LEN, 0);
            buffer.extend_from_slice(&packet.into_bytes());
        }
        let attached = device.borrow_and_update().clone();
        tokio::select! {
            written = attached.send_multiple(&mut coalescing, &mut buffers[..count], VIRTIO_NET_HDR_LEN) => {
                if let Err(error) = written {
                    tracing::debug!(%error, "packets to the TUN dropped");
                }
            }
            // A write to a deleted TUN need not return.
            _ = device.changed() => {}
        }
    }
}
