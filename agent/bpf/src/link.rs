//! A tcx link by its descriptor: whoever holds one keeps the program attached, pinned or not.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// Commands of `enum bpf_cmd` in <linux/bpf.h>.
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// What `union bpf_attr` holds for objects and pins.
#[repr(C)]
#[derive(Default)]
struct OfPin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// What it holds for a question about an object.
#[repr(C)]
struct OfInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_link_info` of a tcx link.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    /// 0 once it is detached or its interface gone.
    ifindex: u32,
    attach_type: u32,
}

/// An open tcx link.
pub(crate) struct TcxLink(OwnedFd);

impl TcxLink {
    /// The one that is pinned at `pin`.
    ///
    /// # Errors
    /// What the kernel says; `NotFound` without a pin.
    pub fn of_pin(pin: &Path) -> io::Result<Self> {
        let path = CString::new(pin.as_os_str().as_bytes())?;
        let mut attributes = OfPin { path: path.as_ptr() as u64, ..OfPin::default() };
        // SAFETY: the path lives through the call; a new descriptor belongs to nobody else.
        unsafe { bpf(OBJ_GET, &mut attributes).map(|fd| TcxLink(OwnedFd::from_raw_fd(fd))) }
    }

    /// Gives it a pin.
    ///
    /// # Errors
    /// What the kernel says; `AlreadyExists` if there is one.
    pub fn pin(&self, pin: &Path) -> io::Result<()> {
        let path = CString::new(pin.as_os_str().as_bytes())?;
        let mut attributes = OfPin { path: path.as_ptr() as u64, fd: self.0.as_raw_fd() as u32, flags: 0 };
        // SAFETY: the path lives through the call.
        unsafe { bpf(OBJ_PIN, &mut attributes).map(drop) }
    }

    /// Whether it still attaches its program to an interface. The kernel waits for its lock of interfaces to say so. A link
    /// that cannot be asked counts as attached: whoever looks at the interface finds out.
    pub fn is_attached(&self) -> bool {
        let mut info = Info::default();
        let length = size_of::<Info>() as u32;
        let mut attributes =
            OfInfo { fd: self.0.as_raw_fd() as u32, length, info: (&raw mut info).expose_provenance() as u64 };
        // SAFETY: the kernel writes `length` bytes at most to where `info` is.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attributes) }.is_err() || info.ifindex != 0
    }
}

/// # Safety
/// `attributes` are those of `command`, and what they point to lives through the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the caller's.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
