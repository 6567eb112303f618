//! Programs on the ingress of interfaces by tcx, seen and detached by system calls: Debian 12's bpftool does not know them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;

/// Commands of `enum bpf_cmd`, and what is asked for of `enum bpf_attach_type`, in <linux/bpf.h>.
const OBJ_GET: libc::c_int = 7;
const PROG_QUERY: libc::c_int = 16;
const LINK_DETACH: libc::c_int = 34;
const TCX_INGRESS: u32 = 46;

/// `union bpf_attr` for a pin.
#[repr(C)]
struct Pinned {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` for a link.
#[repr(C)]
struct Detached {
    fd: u32,
}

/// `union bpf_attr` for a question about an interface, as far as it matters.
#[repr(C)]
#[derive(Default)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
}

/// How many programs run on the ingress of `ifname` in the calling thread's namespace.
///
/// # Errors
/// What the kernel says; before 6.6 that it does not know the question.
pub fn programs(ifname: &str) -> io::Result<u32> {
    let mut query = Query { ifindex: if_nametoindex(ifname)?, attach_type: TCX_INGRESS, ..Query::default() };
    // SAFETY: no array is passed, so the kernel only counts.
    unsafe { bpf(PROG_QUERY, &mut query)? };
    Ok(query.count)
}

/// Takes the program of the link that is pinned at `pin` off its interface; the pin stays.
///
/// # Errors
/// What the kernel says.
pub fn detach(pin: &str) -> io::Result<()> {
    let path = CString::new(pin)?;
    let mut pinned = Pinned { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the path lives through the call; a new descriptor belongs to nobody else.
    let link = unsafe { OwnedFd::from_raw_fd(bpf(OBJ_GET, &mut pinned)?) };
    // SAFETY: the descriptor lives through the call.
    unsafe { bpf(LINK_DETACH, &mut Detached { fd: link.as_raw_fd() as u32 }).map(drop) }
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
