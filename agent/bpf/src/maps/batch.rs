//! Every place of an array in one system call. One by one, 2,048 places took most of the time in which an agent looks at
//! its kernel (measured: 17 of 21 ms).

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use aya::{
    Pod,
    maps::{MapData, MapError},
};

/// `BPF_MAP_LOOKUP_BATCH` of <linux/bpf.h>; arrays know it from kernel 5.6 on.
const LOOKUP_BATCH: libc::c_int = 24;

/// `batch` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Places of an array of `V`, and what is in them.
///
/// # Errors
/// What the kernel says; values of another size than `V`.
pub(super) fn places<V: Pod>(map: &MapData) -> Result<Vec<(u32, V)>, MapError> {
    let info = map.info()?;
    if info.value_size() as usize != size_of::<V>() {
        return Err(MapError::InvalidValueSize { size: size_of::<V>(), expected: info.value_size() as usize });
    }
    let entries = info.max_entries() as usize;
    let mut next = 0_u32;
    let mut keys = vec![0_u32; entries];
    // SAFETY: a Pod is whatever its bytes are, zero too.
    let mut values = vec![unsafe { std::mem::zeroed::<V>() }; entries];
    let mut batch = Batch {
        out_batch: (&raw mut next).addr() as u64,
        keys: keys.as_mut_ptr().addr() as u64,
        values: values.as_mut_ptr().addr() as u64,
        count: info.max_entries(),
        map: map.fd().as_fd().as_raw_fd().cast_unsigned(),
        ..Batch::default()
    };
    // SAFETY: the kernel writes at most `count` keys and values, for which there is room, the next key into `next` and how
    // many it wrote into `batch`; all of them outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, &raw mut batch, size_of::<Batch>()) };
    if done != 0 {
        let error = io::Error::last_os_error();
        // ENOENT: that was the last place
        if error.raw_os_error() != Some(libc::ENOENT) {
            return Err(error.into());
        }
    }
    keys.truncate(batch.count as usize);
    Ok(keys.into_iter().zip(values).collect())
}
