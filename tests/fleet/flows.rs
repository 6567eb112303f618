//! Everybody's conversations, going on whatever is done to the nodes.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use pathsteer_lab::host::Host;
use pathsteer_lab::traffic::{Marker, Stamp};
use pathsteer_lab::{clock, netns};

use crate::mesh::{Talk, everybody};
use crate::stage::Stage;

/// Between two datagrams of a flow.
const PERIOD: Duration = Duration::from_millis(20);

/// The conversations under way.
pub struct Flows {
    end: Arc<AtomicBool>,
    /// Datagrams that arrived, by conversation.
    arrived: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Flows {
    /// Starts them, and waits until each of them is heard.
    pub fn start(stage: &mut Stage) -> Result<Flows> {
        let mut flows = Flows { end: Arc::default(), arrived: Vec::new(), threads: Vec::new() };
        for Talk { from, to, answered, .. } in everybody(stage)? {
            let (end, arrived) = (Arc::clone(&flows.end), Arc::new(AtomicU64::new(0)));
            flows.arrived.push(Arc::clone(&arrived));
            let (asking, answering) = (socket(&from)?, socket(&to)?);
            let addresses = (from.1, to.1);
            let thread = std::thread::Builder::new().name("conversation".into());
            flows.threads.push(thread.spawn(move || {
                hold((&asking, addresses.0), (&answering, addresses.1), answered, &arrived, &end);
                Ok(())
            })?);
        }
        flows.go_on(stage)?;
        Ok(flows)
    }

    /// Waits until every conversation is heard from now on.
    pub fn go_on(&self, stage: &mut Stage) -> Result<()> {
        let counts = || self.arrived.iter().map(|count| count.load(Relaxed)).collect::<Vec<_>>();
        let before = counts();
        let silent = || counts().iter().zip(&before).filter(|(now, before)| now <= before).count();
        stage
            .until("every conversation goes on", |_| Ok(silent() == 0))
            .with_context(|| format!("{} of {} are silent", silent(), before.len()))
    }

    pub fn finish(mut self) -> Result<()> {
        self.end.store(true, Relaxed);
        std::mem::take(&mut self.threads).into_iter().try_for_each(netns::join)
    }
}

impl Drop for Flows {
    /// A case that fails leaves nobody talking.
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
    }
}

fn socket((host, address): &(Host, SocketAddr)) -> Result<UdpSocket> {
    let socket = host.net.run(|| UdpSocket::bind(address).with_context(|| format!("binding UDP {address}")))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Speaks for both ends until the end, and counts what each of them hears.
fn hold(
    (asking, near): (&UdpSocket, SocketAddr),
    (answering, far): (&UdpSocket, SocketAddr),
    answered: bool,
    arrived: &AtomicU64,
    end: &AtomicBool,
) {
    let mut due = clock::now();
    for sequence in 0.. {
        if end.load(Relaxed) {
            break;
        }
        let payload = Stamp { run: 0, sequence, sent: clock::now() }.write(Marker::SURVIVABLE, 0);
        // What the kernel refuses leaks nowhere.
        let _ = asking.send_to(&payload, far);
        if answered {
            let _ = answering.send_to(&payload, near);
        }
        for socket in [asking, answering] {
            while socket.recv(&mut [0; 1]).is_ok() {
                arrived.fetch_add(1, Relaxed);
            }
        }
        due += PERIOD;
        clock::sleep_until(due);
    }
}
