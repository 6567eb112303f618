//! A TAP device: what the kernel sends through it is read here, what is written here the kernel receives.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::netns::Namespace;

/// `_IOW('T', 226, int)` and `_IO('T', 227)` of linux/if_tun.h; libc does not have them.
const TUNSETCARRIER: libc::Ioctl = 0x4004_54e2;
const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;

/// One TAP device. It goes when this is dropped.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Makes the device `name` in `namespace`. It may be moved to another namespace afterwards.
    ///
    /// No virtio header and no offload is asked for, so the kernel finishes checksums and segments before a frame
    /// gets here, as a real card would before the cable.
    ///
    /// # Errors
    /// Without `/dev/net/tun`, or when the name is taken or too long.
    pub fn open(namespace: &Namespace, name: &str) -> Result<Tap> {
        let file = namespace.run(|| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")
                .context("opening /dev/net/tun")?;
            // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            anyhow::ensure!(name.len() < request.ifr_name.len(), "`{name}` is too long for an interface");
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
            // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until after the call.
            if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) } < 0 {
                return Err(io::Error::last_os_error()).with_context(|| format!("making the TAP device {name}"));
            }
            Ok(file)
        })?;
        Ok(Tap { file })
    }

    /// The next frame, if one is waiting.
    pub fn receive(&self, frame: &mut [u8]) -> Option<usize> {
        (&self.file).read(frame).ok().filter(|length| *length > 0)
    }

    /// Hands a frame to the kernel.
    ///
    /// # Errors
    /// EIO while the device is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        (&self.file).write(frame).map(drop)
    }

    /// Sets the MTU, in bytes, wherever the device is now and whatever it is called there.
    ///
    /// # Errors
    /// When the device is gone, or the kernel refuses.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        // SAFETY: an all-zero ifreq is a valid value of that plain C struct.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // SAFETY: TUNGETDEVNETNS returns a descriptor that nobody else owns; TUNGETIFF writes one ifreq, which lives
        // until after the call.
        let namespace = unsafe {
            let namespace = libc::ioctl(self.file.as_raw_fd(), TUNGETDEVNETNS);
            if namespace < 0 || libc::ioctl(self.file.as_raw_fd(), libc::TUNGETIFF, &mut request) < 0 {
                return Err(io::Error::last_os_error()).context("asking where a TAP device is");
            }
            Namespace::from(File::from_raw_fd(namespace))
        };
        let family = AddressFamily::Inet;
        let socket = namespace.run(|| Ok(socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?))?;
        request.ifr_ifru.ifru_mtu = mtu.into();
        // SAFETY: SIOCSIFMTU reads one ifreq, which lives until after the call.
        if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU, &request) } < 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("setting an MTU of {mtu}"));
        }
        Ok(())
    }

    /// Plugs the cable in, or pulls it out.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn set_carrier(&self, on: bool) -> io::Result<()> {
        let on = libc::c_int::from(on);
        // SAFETY: TUNSETCARRIER reads one int, which lives until after the call.
        if unsafe { libc::ioctl(self.file.as_raw_fd(), TUNSETCARRIER, &on) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
