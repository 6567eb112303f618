//! Programs on interfaces: by a tcx link and by a clsact filter, which must not be told apart from outside.

use std::{
    os::fd::AsRawFd,
    process::Command,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TcAttachType};
use nix::{
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use pathsteer_bpf::{Datapath, Hook, Kind, attached, is_attachment_pinned};

use crate::{
    bpffs::Bpffs,
    netns::{ip, make_pair, with_pair},
    pair::{CLIENT, SERVER, udp},
};

const PIN: &str = "netns-far";

/// How many programs run on the ingress of `far`, as links and as filters.
fn on_ingress() -> (usize, usize) {
    let links = match SchedClassifier::query_tcx("far", TcAttachType::Ingress) {
        Ok((_, links)) => links.len(),
        Err(error) if hooks_of_this_kernel().contains(&Hook::Tcx) => panic!("{error}"),
        Err(_) => 0,
    };
    let output = Command::new("tc").args(["filter", "show", "dev", "far", "ingress"]).output().unwrap();
    let filters = String::from_utf8(output.stdout).unwrap().matches("direct-action").count();
    (links, filters)
}

/// Waits until that is what runs: a link whose pin is removed ends a moment later.
fn wait_for_ingress(wanted: (usize, usize)) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while on_ingress() != wanted {
        assert!(Instant::now() < deadline, "{:?} on the ingress, not {wanted:?}", on_ingress());
    }
}

/// Every kernel has clsact; links came with 6.6.
fn hooks_of_this_kernel() -> Vec<Hook> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let version: Vec<u32> = release.split(['.', '-']).take(2).map(|number| number.parse().unwrap()).collect();
    if version >= vec![6, 6] { vec![Hook::Clsact, Hook::Tcx] } else { vec![Hook::Clsact] }
}

/// One program, by this hook.
fn one_by(hook: Hook) -> (usize, usize) {
    if hook == Hook::Tcx { (1, 0) } else { (0, 1) }
}

/// Sends packets out of `near` as they are.
fn send(number: usize) {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).unwrap();
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: if_nametoindex("near").unwrap() as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let packet = udp(CLIENT, SERVER, [1, 2], 0);
    for _ in 0..number {
        // SAFETY: buffer and address live through the call, and their lengths are theirs.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        assert_eq!(sent, packet.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

fn lives_and_dies(hook: Hook) {
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open_with(&bpffs.path(), hook).unwrap();
    assert_eq!(attached("far").unwrap(), None);
    datapath.programs.detach("far", PIN).unwrap();
    datapath.programs.attach("far", PIN, Kind::Encap).unwrap();
    assert_eq!(attached("far").unwrap(), Some(Kind::Encap));
    assert!(datapath.programs.is_current("far", Kind::Encap).unwrap());
    assert!(!datapath.programs.is_current("far", Kind::DecapEthernet).unwrap());
    drop(datapath);
    assert_eq!(attached("far").unwrap(), Some(Kind::Encap), "it works on while the agent is down");

    let mut datapath = Datapath::open_with(&bpffs.path(), hook).unwrap();
    assert!(datapath.programs.is_current("far", Kind::Encap).unwrap(), "the same program with the same maps");
    datapath.programs.attach("far", PIN, Kind::DecapEthernet).unwrap();
    assert_eq!(attached("far").unwrap(), Some(Kind::DecapEthernet));
    assert_eq!(on_ingress(), one_by(hook), "in place of the other");
    assert!(is_attachment_pinned(&bpffs.path(), PIN));

    // the interface goes and comes back: what is pinned stands for one that is gone
    ip("link del near");
    make_pair();
    assert_eq!(attached("far").unwrap(), None);
    datapath.programs.attach("far", PIN, Kind::DecapEthernet).unwrap();
    assert!(datapath.programs.is_current("far", Kind::DecapEthernet).unwrap());

    datapath.programs.detach("far", PIN).unwrap();
    wait_for_ingress((0, 0));
    assert_eq!(attached("far").unwrap(), None);
    assert!(!is_attachment_pinned(&bpffs.path(), PIN));
    ip("link del near");
    datapath.programs.detach("far", PIN).unwrap();
}

#[test]
fn an_attachment_outlives_the_agent_and_ends_with_its_detachment() {
    for hook in hooks_of_this_kernel() {
        with_pair(move || lives_and_dies(hook));
    }
}

#[test]
fn a_held_link_keeps_its_program_without_a_pin_and_gets_it_back() {
    with_pair(|| {
        let bpffs = Bpffs::new();
        let Some(hook) = hooks_of_this_kernel().pop().filter(|hook| *hook == Hook::Tcx) else { return };
        Datapath::open_with(&bpffs.path(), hook).unwrap().programs.attach("far", PIN, Kind::Encap).unwrap();
        let mut datapath = Datapath::open_with(&bpffs.path(), hook).unwrap();
        assert!(datapath.programs.hold(PIN), "one that somebody else has attached");
        std::fs::remove_file(bpffs.pin_of_link(PIN)).unwrap();
        assert!(!datapath.programs.hold(PIN));
        assert_eq!(on_ingress(), (1, 0), "without a pin");
        assert!(datapath.programs.attachments().ended().is_empty());
        datapath.programs.attach("far", PIN, Kind::Encap).unwrap();
        assert!(is_attachment_pinned(&bpffs.path(), PIN));
        assert_eq!(on_ingress(), (1, 0), "the same one");
        std::fs::remove_file(bpffs.pin_of_link(PIN)).unwrap();
        datapath.programs.let_go();
        wait_for_ingress((0, 0));
    });
}

#[test]
fn a_link_that_somebody_detaches_is_told_once() {
    with_pair(|| {
        let bpffs = Bpffs::new();
        let Some(hook) = hooks_of_this_kernel().pop().filter(|hook| *hook == Hook::Tcx) else { return };
        let mut datapath = Datapath::open_with(&bpffs.path(), hook).unwrap();
        datapath.programs.attach("far", PIN, Kind::Encap).unwrap();
        assert!(datapath.programs.attachments().ended().is_empty());
        let pin = bpffs.pin_of_link(PIN);
        let detached = Command::new("bpftool").args(["link", "detach", "pinned"]).arg(&pin).status().unwrap();
        assert!(detached.success());
        let ended = datapath.programs.attachments().ended();
        assert!(!ended.is_empty());
        datapath.programs.forget(&ended);
        assert!(datapath.programs.attachments().ended().is_empty());
        datapath.programs.attach("far", PIN, Kind::Encap).unwrap();
        assert_eq!(on_ingress(), (1, 0));
        assert!(datapath.programs.attachments().ended().is_empty());
    });
}

#[test]
fn a_kernel_uses_its_best_hook() {
    with_pair(|| assert_eq!(Some(&Hook::of_this_kernel().unwrap()), hooks_of_this_kernel().last()));
}

/// Packets that find no program would reach the stack uncounted.
fn is_exchanged_without_a_gap(hook: Hook) {
    const PACKETS: usize = 20_000;
    let bpffs = Bpffs::new();
    let mut datapath = Datapath::open_with(&bpffs.path(), hook).unwrap();
    datapath.programs.attach("far", PIN, Kind::DecapEthernet).unwrap();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (done, netns) = (sent.clone(), std::fs::File::open("/proc/thread-self/ns/net").unwrap());
    let sender = std::thread::spawn(move || {
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        send(PACKETS);
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    let mut exchanged = 0;
    while !sent.load(std::sync::atomic::Ordering::Acquire) || exchanged < 20 {
        let mut next = Datapath::open_with(&bpffs.path(), hook).unwrap();
        next.programs.attach("far", PIN, Kind::DecapEthernet).unwrap();
        exchanged += 1;
    }
    sender.join().unwrap();
    let counters = datapath.maps.counters().unwrap();
    assert_eq!(counters[&0]["noState"], PACKETS as u64, "{exchanged} exchanges");
}

#[test]
fn a_program_is_exchanged_without_a_packet_that_finds_none() {
    for hook in hooks_of_this_kernel() {
        with_pair(move || is_exchanged_without_a_gap(hook));
    }
}

#[test]
fn another_hook_takes_over_and_leaves_one_program() {
    with_pair(|| {
        let bpffs = Bpffs::new();
        let hooks = hooks_of_this_kernel();
        let turns: Vec<Hook> = hooks.iter().chain(hooks.iter().rev()).copied().collect();
        for (turn, hook) in turns.iter().copied().enumerate() {
            let mut datapath = Datapath::open_with(&bpffs.path(), hook).unwrap();
            let same = turn > 0 && turns[turn - 1] == hook;
            assert_eq!(datapath.programs.is_current("far", Kind::Encap).unwrap(), same, "by {hook:?}");
            datapath.programs.attach("far", PIN, Kind::Encap).unwrap();
            assert!(datapath.programs.is_current("far", Kind::Encap).unwrap());
            wait_for_ingress(one_by(hook));
            send(1);
        }
        let datapath = Datapath::open(&bpffs.path()).unwrap();
        assert_eq!(datapath.maps.counters().unwrap()[&0]["noState"], turns.len() as u64, "and each has worked");
    });
}
