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
    let receiver = std::thread::spawn(move || -> Result<usize> {
        let (mut connection, _) = listener.accept()?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut all = Vec::with_capacity(BYTES);
        connection.read_to_end(&mut all)?;
        let wrong = all.iter().enumerate().find(|(at, byte)| **byte != pattern(*at));
        ensure!(wrong.is_none(), "byte {wrong:?} is wrong");
        Ok(all.len())
    });
    let sent = from.net.run(|| {
        let mut connection = TcpStream::connect_timeout(&SocketAddr::new(address, 31_500), PATIENCE)?;
        connection.set_write_timeout(Some(PATIENCE))?;
        let all: Vec<u8> = (0..BYTES).map(pattern).collect();
        connection.write_all(&all)?;
        connection.shutdown(Shutdown::Write)?;
        Ok(())
    });
    // A receiver that nobody reaches waits for ever; the sandbox ends it.
    sent?;
    let received = netns::join(receiver)?;
    ensure!(received == BYTES, "{received} bytes of {BYTES} arrived");
    let taken = clock::now() - start;
    ensure!(taken < PATIENCE, "it took {:.1} s", taken.as_secs_f64());
    Ok(taken)
}

/// Byte number `at`: any shift or repetition of a segment shows.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}
