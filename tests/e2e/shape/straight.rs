//! Flows that go straight to the internet over a narrow line.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{getsockopt, sockopt};
use pathsteer_lab::probe;

use crate::stage::Stage;
use crate::treatment::{ON_THE_WEB, PLAYER};

const PORT: u16 = 7_700;
const PATIENCE: Duration = Duration::from_secs(3);
/// Timestamps, which every segment carries (RFC 7323), padded.
const TIMESTAMPS: u32 = 12;

/// A server is told of segments that fit a line of this MTU, and who sends more than fits is told the MTU.
pub fn fits(stage: &Stage, mtu: u32) -> Result<()> {
    let (player, web) = (stage.network.host(PLAYER.host), stage.network.host(ON_THE_WEB.host));
    for (here, there) in PLAYER.addresses.into_iter().zip(ON_THE_WEB.addresses) {
        for (host, family) in [(player, "-4"), (player, "-6"), (web, "-4"), (web, "-6")] {
            // What an earlier line has taught the hosts would keep their segments small.
            host.output("ip", &[family, "route", "flush", "cache"])?;
        }
        let to = SocketAddr::new(there, PORT);
        let listener = web.net.run(|| Ok(TcpListener::bind(to)?))?;
        let connection = player.net.run(|| Ok(TcpStream::connect_timeout(&to, PATIENCE)?));
        let _connection = connection.with_context(|| format!("connecting to {to}"))?;
        let (accepted, _) = listener.accept()?;
        let told = getsockopt(&accepted, sockopt::TcpMaxSeg)?;
        let headers = if there.is_ipv4() { 40 } else { 60 };
        let wanted = mtu - headers - TIMESTAMPS;
        ensure!(told == wanted, "{there} may send segments of {told} bytes to {here}, {wanted} fit");

        let ask = |size: u32| -> Result<_> {
            let error = probe::complaint((player, here), there, size as usize)?;
            error.with_context(|| format!("{size} bytes to {there} vanish"))
        };
        let whole = ask(mtu)?;
        ensure!((whole.from, whole.mtu) == (there, None), "{mtu} bytes to {there}: {whole:?}");
        let refused = ask(mtu + 1)?;
        ensure!(refused.mtu == Some(mtu), "{} bytes to {there}: {refused:?}", mtu + 1);
    }
    Ok(())
}
