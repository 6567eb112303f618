//! What a network card does for the kernel: switched on or off, because it decides what a frame on the wire looks like.

use std::os::fd::AsRawFd;
use std::{fs, io};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::mounts;
use crate::netns::Namespace;

/// How long a segment waits for the next one to be merged with, in nanoseconds: longer than between two segments of a
/// window, shorter than any round trip of the lab.
const MERGING_TIME: u32 = 200_000;

/// What can be switched; the numbers are the commands of linux/ethtool.h that do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// The card finishes checksums, and so may cut up segments. Without it every frame is complete before it leaves.
    TransmitChecksum = 0x17,
    /// The card cuts up TCP segments of up to 64 KiB.
    TcpSegmentation = 0x1f,
    /// The kernel cuts up segments as late as it can.
    Segmentation = 0x24,
    /// Segments that come in one after another are put together.
    ReceiveMerging = 0x2c,
}

/// Switches `offload` of `interface`, in the calling thread's network namespace.
///
/// # Errors
/// When there is no such interface or it cannot do this.
pub fn set(interface: &str, offload: Offload, on: bool) -> Result<()> {
    let name = interface.as_bytes();
    // struct ethtool_value: the command and its argument.
    let mut value = [offload as u32, u32::from(on)];
    // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    anyhow::ensure!(name.len() < request.ifr_name.len(), "`{interface}` is too long for an interface");
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: SIOCETHTOOL reads the request and the two numbers it points to, which live until after the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &mut request) } < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("setting {offload:?} of {interface}"));
    }
    Ok(())
}

/// Lets only frames with finished checksums, none longer than the MTU, leave by `interface`: as they are on a cable.
///
/// # Errors
/// When there is no such interface.
pub fn complete_frames(interface: &str) -> Result<()> {
    set(interface, Offload::TransmitChecksum, false)
}

/// Lets `interface` in `namespace` put TCP segments together that come in one after another, as a card of a busy host
/// does. What comes over a veth from a card that cuts segments up itself is never put together.
///
/// # Errors
/// When there is no such interface.
pub fn merge_segments(namespace: &Namespace, interface: &str) -> Result<()> {
    namespace.run(|| {
        set(interface, Offload::ReceiveMerging, true)?;
        // A veth hands over one segment at a time: without waiting, none would ever meet another. Only sysfs can say
        // so, and it shows the namespace in which it was mounted; this thread's mounts go with it.
        unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace needs root")?;
        mounts::make_private()?;
        mounts::filesystem("sysfs", "/sys")?;
        let file = format!("/sys/class/net/{interface}/gro_flush_timeout");
        fs::write(&file, MERGING_TIME.to_string()).with_context(|| format!("writing {file}"))
    })
}
