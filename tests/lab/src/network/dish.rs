//! A dish: the device of a satellite provider that every customer finds at the same address, and guests must not.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;

use anyhow::Result;
use nix::sys::socket::{Shutdown, shutdown};

use super::plan::DISH_PORT;
use crate::host::Host;
use crate::netns;

/// The router's card towards it, and the router's address there.
const CARD: &str = "dish0";
const ROUTER: &str = "192.168.100.254";
/// What it says to whoever connects, before it hangs up.
pub const GREETING: &str = "HTTP/1.0 200 OK\r\n\r\ndish\n";

/// A running dish. It ends when this is dropped.
pub struct Dish {
    listener: TcpListener,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Dish {
    /// Connects `host` to the provider's `router` and answers TCP at `address`.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn start(host: &Host, router: &Host, address: Ipv4Addr) -> Result<Dish> {
        router.ip(&format!(
            "link add {CARD} type veth peer name eth0 netns {}
             address add {ROUTER}/24 dev {CARD}
             link set {CARD} up",
            host.name
        ))?;
        host.ip(&format!("address add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {ROUTER}"))?;
        let listener = host.net.run(|| Ok(TcpListener::bind((address, DISH_PORT))?))?;
        let accepting = listener.try_clone()?;
        let thread = host.net.thread("dish", move || {
            while let Ok((mut connection, _)) = accepting.accept() {
                // Whoever connected may have gone already.
                let _ = connection.write_all(GREETING.as_bytes());
            }
            Ok(())
        })?;
        Ok(Dish { listener, thread: Some(thread) })
    }
}

impl Drop for Dish {
    fn drop(&mut self) {
        // A listener that is shut down ends the accept that waits on it.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = netns::join(thread);
        }
    }
}
