//! A program on an interface's ingress as a direct-action filter of its clsact qdisc: the way of kernels before 6.6.

use std::{io, os::fd::AsRawFd};

use nix::net::if_::if_nametoindex;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
    },
};

use crate::netlink::request;

/// Ours among the filters of an interface.
const PRIORITY: u32 = 77;
const HANDLE: TcHandle = TcHandle { major: 0, minor: 1 };
const INGRESS: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };
/// Of all protocols.
const PROTOCOL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Puts `program` on the ingress of `ifname`. One that is there is replaced without a gap: the kernel exchanges a filter
/// of the same handle in one step.
///
/// # Errors
/// What the kernel says.
pub fn attach(ifname: &str, program: &impl AsRawFd, name: &str) -> io::Result<()> {
    let index = index(ifname)?;
    let qdisc =
        TcHeader { index, parent: TcHandle::CLSACT, handle: TcHandle::from(0xffff_0000), ..TcHeader::default() };
    let kind = vec![TcAttribute::Kind("clsact".to_owned())];
    let made =
        request(RouteNetlinkMessage::NewQueueDiscipline(TcMessage::from_parts(qdisc, kind)), NLM_F_CREATE | NLM_F_EXCL);
    match made {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
        _ => {}
    }
    let options = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd() as u32),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    let attributes = vec![
        TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
        TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()),
    ];
    let message = TcMessage::from_parts(filter(index), attributes);
    request(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE).map(|_| ())
}

/// Id of the program of ours on the ingress of `ifname`.
///
/// # Errors
/// What the kernel says.
pub fn running(ifname: &str) -> io::Result<Option<u32>> {
    let header = TcHeader { index: index(ifname)?, parent: INGRESS, ..TcHeader::default() };
    let message = TcMessage::from_parts(header, Vec::new());
    let answers = request(RouteNetlinkMessage::GetTrafficFilter(message), NLM_F_DUMP)?;
    Ok(answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(found) if found.header.handle == HANDLE => program_id(&found),
        _ => None,
    }))
}

/// Takes our program from the ingress of `ifname`; none there is fine, so is no interface.
///
/// # Errors
/// What the kernel says.
pub fn detach(ifname: &str) -> io::Result<()> {
    let Ok(index) = index(ifname) else { return Ok(()) };
    if running(ifname)?.is_none() {
        return Ok(());
    }
    request(RouteNetlinkMessage::DelTrafficFilter(TcMessage::from_parts(filter(index), Vec::new())), 0).map(|_| ())
}

fn filter(index: i32) -> TcHeader {
    let info = PRIORITY << 16 | u32::from(PROTOCOL);
    TcHeader { index, parent: INGRESS, handle: HANDLE, info, ..TcHeader::default() }
}

fn program_id(filter: &TcMessage) -> Option<u32> {
    (filter.header.info >> 16 == PRIORITY).then_some(())?;
    let options = filter.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    })?;
    options.iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    })
}

fn index(ifname: &str) -> io::Result<i32> {
    Ok(if_nametoindex(ifname)? as i32)
}
