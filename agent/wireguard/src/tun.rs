//! A device's persistent TUN: attached to, never made here, and swapped under a running device when it was made anew.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gotatun::packet::Packet;
use gotatun::tun::MtuWatcher;
use nix::net::if_::if_nametoindex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tun_rs::{AsyncDevice, DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN};

use crate::device::Pool;
use crate::netns::{Netns, NetnsId};

/// The largest packet a TUN with virtio headers gives or takes: 64 KiB before segmentation, and the header.
const MAX_READ: usize = VIRTIO_NET_HDR_LEN + 65_535;
/// A read ends with as many packets or bytes, so that the first ones do not wait for the last to be read: what the kernel
/// takes in one piece.
const MAX_PACKETS: usize = 64;
const MAX_BYTES: usize = 64 << 10;
/// How long the reader lets a TUN rest that answers with an error (administratively down, or deleted): a poll would
/// return at once, so without a rest it spins.
const REST: Duration = Duration::from_millis(20);

/// The attachment to a TUN.
pub(crate) struct Tun {
    netns: NetnsId,
    index: u32,
    offload: bool,
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
    pub(crate) fn attach(netns: &str, link: &str, offload: bool) -> io::Result<(Tun, TunReader, TunWriter)> {
        let Attachment { netns, index, mtu, device } = attach(&Netns::open(netns)?, link, offload)?;
        let (device, attached) = watch::channel(Arc::new(device));
        let (mtu, _) = watch::channel(mtu);
        let reader = TunReader {
            device: attached.clone(),
            unsegmented: vec![0; MAX_READ],
            segments: Vec::with_capacity(IDEAL_BATCH_SIZE),
            sizes: vec![0; IDEAL_BATCH_SIZE],
        };
        let writer = TunWriter { device: attached, coalescing: GROTable::default(), buffers: Vec::new() };
        Ok((Tun { netns, index, offload, device, mtu }, reader, writer))
    }

    /// The MTU as it is and will be.
    pub(crate) fn mtu(&self) -> MtuWatcher {
        self.mtu.subscribe().into()
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
            io::Result::Ok((index, if index == self.index { device.mtu().ok() } else { None }))
        })?;
        if let Some(mtu) = mtu {
            self.mtu.send_if_modified(|known| std::mem::replace(known, mtu) != mtu);
            return Ok(false);
        }
        let attachment = attach(netns, link, self.offload)?;
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

    /// Big packets pass it in one piece.
    pub(crate) fn offload(&self) -> bool {
        self.offload
    }
}

fn attach(netns: &Netns, link: &str, offload: bool) -> io::Result<Attachment> {
    let runtime = Handle::current();
    let id = netns.id()?;
    netns.visit(|| {
        // Asked first: opening a TUN under a name that is not there makes one, which nobody declared.
        let index = if_nametoindex(link)?;
        let _inside = runtime.enter();
        let device = DeviceBuilder::new().name(link).offload(offload).inherit_enable_state().build_async()?;
        io::Result::Ok(Attachment { netns: id, index, mtu: device.mtu()?, device })
    })
}

/// Packets from the kernel. With offload, big TCP and UDP sends arrive in one piece and are segmented here.
pub(crate) struct TunReader {
    device: watch::Receiver<Arc<AsyncDevice>>,
    unsegmented: Vec<u8>,
    segments: Vec<Segment>,
    sizes: Vec<usize>,
}

/// A packet buffer that `recv_multiple` may write to.
struct Segment(Packet);

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

impl TunReader {
    /// Waits for a packet and adds it to `packets`, with those that are there by then, up to a bound: they are not
    /// waited for. Never fails: a TUN that is down or gone may come back.
    pub(crate) async fn read(&mut self, pool: &Pool, packets: &mut Vec<Packet>) {
        let (before, mut bytes) = (packets.len(), 0);
        self.segments.resize_with(IDEAL_BATCH_SIZE, || Segment(pool.get()));
        let mut attached = self.device.borrow_and_update().clone();
        let mut count = loop {
            let TunReader { device, unsegmented, segments, sizes } = &mut *self;
            let read = tokio::select! {
                read = attached.recv_multiple(unsegmented, segments, sizes, 0) => read,
                _ = device.changed() => {
                    attached = device.borrow_and_update().clone();
                    continue;
                }
            };
            match read {
                Ok(count) => break count,
                Err(error) if error.raw_os_error().is_some() => {
                    let _ = timeout(REST, device.changed()).await;
                    attached = device.borrow_and_update().clone();
                }
                // One packet that could not be taken apart.
                Err(error) => tracing::debug!(%error, "packet from the TUN dropped"),
            }
        };
        loop {
            bytes += self.take(count, pool, packets);
            if packets.len() - before >= MAX_PACKETS || bytes >= MAX_BYTES {
                return;
            }
            let TunReader { unsegmented, segments, sizes, .. } = &mut *self;
            // What this says of the TUN beside that nothing is there, the next call meets again.
            let Ok(more) = attached.try_recv_multiple(unsegmented, segments, sizes, 0) else { return };
            count = more;
        }
    }

    /// Adds what the last read has put into the first `count` segments to `packets`; how many bytes that is.
    fn take(&mut self, count: usize, pool: &Pool, packets: &mut Vec<Packet>) -> usize {
        let udp_checksum = computed_udp_checksum(&self.unsegmented);
        let mut bytes = 0;
        for (segment, size) in self.segments.iter_mut().zip(&self.sizes).take(count) {
            let mut packet = std::mem::replace(&mut segment.0, pool.get());
            packet.truncate(*size);
            if let Some(at) = udp_checksum {
                never_zero(&mut packet, at);
            }
            bytes += packet.len();
            packets.push(packet);
        }
        bytes
    }
}

/// Where the UDP checksum is that tun-rs has computed for the kernel, if what was read asked for one.
fn computed_udp_checksum(read: &[u8]) -> Option<usize> {
    // struct virtio_net_hdr: flags, gso_type (1 byte each), hdr_len, gso_size, csum_start, csum_offset (2 each)
    const NEEDS_CHECKSUM: u8 = 1;
    /// Of the checksum in a UDP header; in a TCP header it is 16.
    const IN_UDP: u16 = 6;
    let [flags, .., s0, s1, o0, o1] = read.first_chunk::<VIRTIO_NET_HDR_LEN>()?;
    let (start, offset) = (u16::from_ne_bytes([*s0, *s1]), u16::from_ne_bytes([*o0, *o1]));
    (flags & NEEDS_CHECKSUM != 0 && offset == IN_UDP).then_some(usize::from(start) + usize::from(offset))
}

/// A UDP checksum that comes to zero is sent as all ones (RFC 768), for zero means that there is none: over IPv6 the
/// receiver drops that (RFC 8200). tun-rs 2.8 writes the zero: one datagram in 65,536 was lost so.
fn never_zero(packet: &mut [u8], at: usize) {
    if let Some(checksum) = packet.get_mut(at..at + 2)
        && *checksum == [0, 0]
    {
        checksum.fill(0xff);
    }
}

/// Packets to the kernel, as many at once as there are.
pub(crate) struct TunWriter {
    device: watch::Receiver<Arc<AsyncDevice>>,
    coalescing: GROTable,
    buffers: Vec<BytesMut>,
}

impl TunWriter {
    /// Writes all of `packets` and leaves none; a TUN that is down or gone takes none.
    pub(crate) async fn write(&mut self, packets: &mut Vec<Packet>) {
        while !packets.is_empty() {
            let batch = packets.drain(..packets.len().min(IDEAL_BATCH_SIZE));
            self.write_batch(batch).await;
        }
    }

    async fn write_batch(&mut self, packets: impl ExactSizeIterator<Item = Packet>) {
        let TunWriter { device, coalescing, buffers } = self;
        let count = packets.len();
        // Room for 64 KiB each, though a packet needs 1.5: the rest of a flow's packets are appended to its first.
        // Pages that are never written to cost nothing.
        while buffers.len() < count {
            buffers.push(BytesMut::with_capacity(MAX_READ + VIRTIO_NET_HDR_LEN));
        }
        for (buffer, packet) in buffers.iter_mut().zip(packets) {
            buffer.clear();
            buffer.resize(VIRTIO_NET_HDR_LEN, 0);
            buffer.extend_from_slice(&packet);
        }
        let attached = device.borrow_and_update().clone();
        tokio::select! {
            written = attached.send_multiple(coalescing, &mut buffers[..count], VIRTIO_NET_HDR_LEN) => {
                if let Err(error) = written {
                    tracing::debug!(%error, "packets to the TUN dropped");
                }
            }
            // A write to a deleted TUN need not return.
            _ = device.changed() => {}
        }
    }
}
