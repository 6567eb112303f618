//! Persistent TUN devices. Persistent, because a worker that dies must not take the interface, its addresses, its
//! routes and nft's idea of its index with it.

use std::{fs::OpenOptions, io, os::fd::AsRawFd};

nix::ioctl_write_int_bad!(tun_set_persist, libc::TUNSETPERSIST as libc::c_ulong);

/// Makes a persistent TUN with virtio headers in the calling thread's namespace.
///
/// # Errors
/// What the kernel says; EBUSY if an interface of this name exists and is in use.
pub fn create(ifname: &str) -> io::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if ifname.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{ifname} is longer than the kernel's 15 characters"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(ifname.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes the ifreq it is given; the second call takes a number.
    unsafe {
        tun_set_interface_request(device.as_raw_fd(), &mut request)?;
        tun_set_persist(device.as_raw_fd(), 1)?;
    }
    Ok(())
}

unsafe fn tun_set_interface_request(fd: i32, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the caller's.
    match unsafe { libc::ioctl(fd, libc::TUNSETIFF as _, std::ptr::from_mut(request)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
