//! Other people's userspace WireGuard, configured with `wg`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;
use pathsteer_wireguard::ensure_private_key;

/// How long a program may take until it listens.
const DEADLINE: Duration = Duration::from_secs(5);

/// A key pair.
pub struct Keys {
    path: String,
    public: String,
}

impl Keys {
    /// A fresh pair.
    ///
    /// # Errors
    /// The disk.
    pub fn new() -> Result<Keys> {
        // the sandbox's own /run: a name is free until somebody takes it
        let path =
            (0..).map(|number| format!("/run/lab/key{number}")).find(|path| !std::path::Path::new(path).exists());
        let path = path.context("no free name")?;
        Ok(Keys { public: ensure_private_key(path.as_ref())?, path })
    }
}

/// An interface that `wg` configures.
pub struct Wg<'a> {
    pub host: &'a Host,
    pub link: &'a str,
}

impl Wg<'_> {
    /// Waits until the program of the interface listens.
    ///
    /// # Errors
    /// When it does not.
    pub fn await_program(&self) -> Result<()> {
        let listens = || self.host.output("wg", &["show", self.link]).is_ok();
        if !clock::wait_until(clock::now() + DEADLINE, Duration::from_millis(10), listens) {
            bail!("the program of {} does not listen", self.link);
        }
        Ok(())
    }

    /// # Errors
    /// What `wg` says.
    pub fn configure(&self, own: &Keys, peer: &Keys, port: u16, endpoint: &str) -> Result<()> {
        let port = port.to_string();
        let own = ["set", self.link, "listen-port", &port, "private-key", &own.path];
        let peer =
            ["peer", &peer.public, "endpoint", endpoint, "allowed-ips", "0.0.0.0/0", "persistent-keepalive", "5"];
        self.host.output("wg", &[&own[..], &peer[..]].concat()).map(drop)
    }
}
