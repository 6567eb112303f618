//! Names and indexes of interfaces. One cheap call each, so that nobody has to remember what may change meanwhile.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// Index of the interface called `name`, in the namespace in which `socket` was born.
///
/// # Errors
/// ENODEV if there is none.
pub fn index_of(socket: &OwnedFd, name: &str) -> io::Result<u32> {
    let mut request = request();
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the call reads the name from the ifreq it is given and writes the index into it.
    unsafe {
        match libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(request.ifr_ifru.ifru_ifindex.cast_unsigned()),
        }
    }
}

/// Name of the interface with this index, in the namespace in which `socket` was born; none if it is gone.
pub fn name_of(socket: &OwnedFd, index: u32) -> Option<String> {
    let mut request = request();
    request.ifr_ifru.ifru_ifindex = index.cast_signed();
    // SAFETY: the call reads the index from the ifreq it is given and writes the name into it.
    let found = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) } == 0;
    let name = request.ifr_name.iter().take_while(|letter| **letter != 0).map(|letter| letter.cast_unsigned());
    found.then(|| String::from_utf8(name.collect()).ok())?
}

fn request() -> libc::ifreq {
    // SAFETY: all-zero is a valid ifreq.
    unsafe { std::mem::zeroed() }
}
