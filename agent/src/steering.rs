//! The switching machine at work: its actions become map writes and control packets, acknowledgements go back to it.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, setsockopt, socket, sockopt,
};
use pathsteer_agent_core::switch::{self, Acknowledgement, Avoid, Choice, Switch};
use pathsteer_bpf::{
    control::SwitchMessage,
    layout::{self, Chosen},
};
use pathsteer_crds::{
    mark, ownership,
    plan::{PathSpec, RemoteSpec, SteeringSpec},
    report::SteeringReport,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, watch},
};

use crate::{drivers::datapath::Shim, state::StateDir, sys::netns::Netns};

/// What of a plan concerns switching, and what to keep off for now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    pub steering: Vec<SteeringSpec>,
    pub paths: Vec<PathSpec>,
    pub remotes: Vec<RemoteSpec>,
    pub avoid: Avoid,
}

/// Runs the machine until `orders` is closed. Its own task, so that no reconcile turn ever delays a switch.
///
/// # Errors
/// A choice could not be written: the machine thinks it is in force, so another has to begin with what the map says.
pub async fn run(
    shim: Shim,
    state: StateDir,
    mut orders: mpsc::UnboundedReceiver<Orders>,
    reports: watch::Sender<Vec<SteeringReport>>,
) -> io::Result<()> {
    let start = Instant::now();
    let ring = shim.lock().maps.acknowledgements().map_err(io::Error::other)?;
    // SAFETY: the ring owns its descriptor and keeps it until it is dropped.
    let mut ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE)? };
    let mut driver = Driver::new(shim, state)?;
    loop {
        driver.act(start.elapsed())?;
        reports.send_if_modified(|report| {
            let fresh = driver.machine.report();
            let changed = *report != fresh;
            *report = fresh;
            changed
        });
        // without a timeout there is nothing to do before the next event; an hour is as good as never
        let wait =
            driver.machine.poll_timeout().map_or(Duration::from_secs(3_600), |due| due.saturating_sub(start.elapsed()));
        tokio::select! {
            next = orders.recv() => match next {
                Some(next) => driver.obey(next, start.elapsed()),
                None => return Ok(()),
            },
            guard = ring.readable_mut() => {
                let mut guard = guard?;
                while let Some(record) = guard.get_inner_mut().next() {
                    driver.hear(&record, start.elapsed());
                }
                guard.clear_ready();
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Driver {
    machine: Switch,
    shim: Shim,
    state: StateDir,
    /// A switch counter that the disk did not take yet.
    unsaved: Option<u64>,
    remotes: BTreeMap<u32, RemoteSpec>,
}

impl Driver {
    fn new(shim: Shim, state: StateDir) -> io::Result<Self> {
        let mut machine = Switch::new(state.switch_counter()?, std::process::id().into());
        for ((remote, class), chosen) in shim.lock().maps.chosen().map_err(io::Error::other)? {
            let Chosen { active, copies, counter, .. } = chosen;
            machine.adopt(remote, class, Choice { active, copies, counter });
        }
        Ok(Driver { machine, shim, state, unsaved: None, remotes: BTreeMap::new() })
    }

    fn obey(&mut self, orders: Orders, now: Duration) {
        self.remotes = orders.remotes.into_iter().map(|remote| (remote.id, remote)).collect();
        self.machine.handle_plan(&orders.steering, &orders.paths, &orders.avoid, now);
    }

    fn hear(&mut self, record: &[u8], now: Duration) {
        if let Some(ack) = layout::Acknowledgement::from_bytes(record) {
            let layout::Acknowledgement { remote, class, active, copies, slot: _, counter, nonce } = ack;
            self.machine.handle_acknowledgement(Acknowledgement { remote, class, active, copies, counter, nonce }, now);
        }
    }

    fn act(&mut self, now: Duration) -> io::Result<()> {
        // Switching goes on without: a far end that follows a later switch than a rebooted node's says so.
        if self.unsaved.is_some() && self.save_counter().is_ok() {
            tracing::info!("the switch counter is saved");
        }
        while let Some(action) = self.machine.poll_action(now) {
            let done = self.carry_out(&action);
            if let (switch::Action::Choose { .. }, Err(_)) = (&action, &done) {
                return done;
            }
            if let Err(error) = done {
                tracing::warn!(?action, %error, "switching");
            }
        }
        Ok(())
    }

    fn save_counter(&mut self) -> io::Result<()> {
        self.unsaved.map_or(Ok(()), |counter| self.state.save_switch_counter(counter))?;
        self.unsaved = None;
        Ok(())
    }

    fn carry_out(&mut self, action: &switch::Action) -> io::Result<()> {
        match action {
            switch::Action::PersistCounter(counter) => {
                self.unsaved = Some(*counter);
                self.save_counter()
            }
            switch::Action::Choose { remote, class, choice } => {
                let Choice { active, copies, counter } = *choice;
                let chosen = Chosen { active, copies, counter, ..Chosen::default() };
                self.shim.lock().maps.choose(*remote, *class, chosen).map_err(io::Error::other)
            }
            switch::Action::SendControl { remote, class, choice, nonce, slots } => {
                let socket = control_socket()?;
                // one dead slot must not keep the others from telling
                let send = |slot: &u8| self.send(&socket, (*remote, *class), *choice, *nonce, *slot);
                let sent: Vec<io::Result<()>> = slots.iter().map(send).collect();
                sent.into_iter().collect()
            }
            switch::Action::Log(event) => {
                let slots = |choice: &Choice| (choice.active, choice.copies);
                tracing::info!(
                    remote = event.remote,
                    class = event.class,
                    from = ?event.from.as_ref().map(slots),
                    to = ?slots(&event.to),
                    reason = event.reason,
                    "switch"
                );
                Ok(())
            }
        }
    }

    fn send(
        &self,
        socket: &OwnedFd,
        (remote, class): (u32, u8),
        choice: Choice,
        nonce: u64,
        slot: u8,
    ) -> io::Result<()> {
        let Some(spec) = self.remotes.get(&remote) else { return Ok(()) };
        let config = self.shim.lock().maps.config().map_err(io::Error::other)?;
        let packet = SwitchMessage {
            source: Ipv4Addr::from(config.self_address),
            destination: spec.address,
            epoch: config.epoch as u8,
            class,
            active: choice.active,
            copies: choice.copies,
            counter: choice.counter,
            nonce,
        }
        .to_bytes();
        setsockopt(socket, sockopt::Mark, &mark::path(slot, spec.anchor))?;
        let [a, b, c, d] = spec.address.octets();
        sendto(socket.as_raw_fd(), &packet, &SockaddrIn::new(a, b, c, d, 0), MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// A socket for control packets, opened whenever there is something to say: one that is kept would stay in a namespace
/// that has been deleted and made anew.
fn control_socket() -> io::Result<OwnedFd> {
    Netns::open(ownership::VIP_NETNS)?.inside(|| {
        // IPPROTO_RAW: the header is ours, and its source is a shim endpoint, which is assigned nowhere
        let protocol = Some(SockProtocol::Raw);
        Ok(socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)?)
    })
}
