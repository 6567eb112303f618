//! Bulk TCP: big segments of the hosts become packets that fit the tunnel.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::host::Host;
use pathsteer_lab::network::plan::{INTERNET, LAN};
use pathsteer_lab::{clock, netns};

use crate::stage::Stage;
use crate::talk::ENDS;

const BYTES: usize = 8 << 20;
/// Segments that leave in one piece and are cut wrongly come to 0.5 MB/s (16 s); cut rightly it takes about one second.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn case(stage: &mut Stage) -> Result<()> {
    let (lan, internet) = (stage.network.host(LAN), stage.network.host(INTERNET));
    let mut remarks = Vec::new();
    for (client, server) in ENDS {
        for (from, to, address) in [(lan, internet, server), (internet, lan, client)] {
            let taken = transfer(from, to, address).with_context(|| format!("{} sends to {address}", from.name))?;
            let rate = BYTES as f64 * 8.0 / 1e6 / taken.as_secs_f64();
            remarks.push(format!("{} to {address}: {rate:.0} Mb/s", from.name));
        }
    }
    stage.remarks.extend(remarks);
    Ok(())
}

fn transfer(from: &Host, to: &Host, address: IpAddr) -> Result<Duration> {
    let start = clock::now();
    let listener = to.net.run(|| Ok(TcpListener::bind(SocketAddr::new(address, 31_500))?))?;
    let mut sender = from
        .net
        .run(|| Ok(TcpStream::connect_timeout(&SocketAddr::new(address, 31_500), PATIENCE)?))
        .context("connecting")?;
    let (receiver, _) = listener.accept()?;
    let sending = std::thread::spawn(move || -> Result<()> {
        let all: Vec<u8> = (0..BYTES).map(pattern).collect();
        sender.write_all(&all)?;
        Ok(sender.shutdown(Shutdown::Write)?)
    });
    // The receiver ends first, with its connection: a sender that still has something ends with it.
    let received = receive(receiver, start + PATIENCE);
    let sent = netns::join(sending);
    received?;
    sent?;
    Ok(clock::now() - start)
}

fn receive(mut connection: TcpStream, deadline: Duration) -> Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let (mut chunk, mut total) = ([0; 65_536], 0);
    loop {
        let length = connection.read(&mut chunk).with_context(|| format!("after {total} bytes"))?;
        if length == 0 {
            ensure!(total == BYTES, "{total} bytes of {BYTES} arrived");
            return Ok(());
        }
        let wrong = (0..length).find(|at| chunk[*at] != pattern(total + at));
        ensure!(wrong.is_none(), "byte {} is wrong", total + wrong.unwrap_or_default());
        total += length;
        ensure!(clock::now() < deadline, "{total} bytes of {BYTES} arrived in {} s", PATIENCE.as_secs());
    }
}

/// Byte number `at`: any shift or repetition of a segment shows.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}
