//! A paced TCP stream whose every byte is known in advance, so that the receiver can compare. Marked again and again, so
//! that every segment of a usual size shows whose it is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};

use super::marker::Marker;
use super::socket::is_timeout;
use crate::clock;

/// 6,250 bytes every 10 ms are 5 Mb/s.
const CHUNK: usize = 6_250;
const PERIOD: Duration = Duration::from_millis(10);

/// A marker begins at each multiple of this: half of the smallest usual segment.
const MARKED_EVERY: usize = 256;

/// The bytes of a stream: splitmix64 from a seed with markers between, so that a byte out of place shows wherever it is.
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    marker: Marker,
    state: u64,
    word: [u8; 8],
    position: usize,
}

impl Bytes {
    pub fn new(seed: u64, marker: Marker) -> Self {
        Bytes { marker, state: seed, word: [0; 8], position: 0 }
    }

    /// The next bytes of the stream.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            if self.position.is_multiple_of(8) {
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut word = self.state;
                word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                self.word = (word ^ (word >> 31)).to_le_bytes();
            }
            let marked = self.marker.bytes().get(self.position % MARKED_EVERY);
            *byte = marked.copied().unwrap_or(self.word[self.position % 8]);
            self.position += 1;
        }
    }
}

/// Sends `bytes` at 5 Mb/s until `end`, then says that it is complete. Returns how many bytes it was.
/// Behind its pace after an outage, it catches up as fast as TCP allows.
///
/// # Errors
/// When the connection broke or took nothing until `deadline`.
pub fn send(mut connection: TcpStream, mut bytes: Bytes, (end, deadline): (Duration, Duration)) -> Result<u64> {
    connection.set_nodelay(true)?;
    let mut chunk = [0; CHUNK];
    let mut total = 0;
    let mut due = clock::now();
    while due < end {
        clock::sleep_until(due);
        bytes.fill(&mut chunk);
        connection.set_write_timeout(Some(remaining(deadline)?))?;
        connection.write_all(&chunk)?;
        total += CHUNK as u64;
        due += PERIOD;
    }
    connection.shutdown(Shutdown::Write)?;
    // Closed only when the other end has closed, so that nothing of this run is left for the next capture to see.
    connection.set_read_timeout(Some(remaining(deadline)?))?;
    if connection.read(&mut chunk)? > 0 {
        bail!("the receiver of the stream sent something back");
    }
    Ok(total)
}

/// Receives a stream to its end and compares it with `bytes`. Returns how many bytes it was.
///
/// # Errors
/// The first byte that differs; or that the connection broke or the stream did not end until `deadline`.
pub fn receive(mut connection: TcpStream, mut bytes: Bytes, deadline: Duration) -> Result<u64> {
    let (mut got, mut wanted) = ([0; 16_384], [0; 16_384]);
    let mut total = 0;
    loop {
        connection.set_read_timeout(Some(remaining(deadline)?))?;
        let length = match connection.read(&mut got) {
            Ok(0) => return Ok(total),
            Ok(length) => length,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        bytes.fill(&mut wanted[..length]);
        if let Some(at) = (0..length).find(|i| got[*i] != wanted[*i]) {
            bail!("byte {} of the stream is wrong", total + at as u64);
        }
        total += length as u64;
    }
}

fn remaining(deadline: Duration) -> Result<Duration> {
    let left = deadline.saturating_sub(clock::now());
    if left.is_zero() {
        bail!("the stream was not through in time");
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(seed: u64) -> Bytes {
        Bytes::new(seed, Marker::MIXED)
    }

    #[test]
    fn the_stream_is_the_same_however_it_is_cut() {
        let mut whole = [0; 1_000];
        bytes(3).fill(&mut whole);
        let mut again = bytes(3);
        let mut cut = [0; 1_000];
        for part in cut.chunks_mut(7) {
            again.fill(part);
        }
        assert_eq!(whole, cut);
    }

    #[test]
    fn every_segment_of_a_usual_size_is_marked() {
        let mut whole = [0; 5_000];
        bytes(3).fill(&mut whole);
        assert!(whole.windows(512).all(|segment| Marker::MIXED.is_in(segment)));
    }

    #[test]
    fn other_seeds_give_other_streams() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        bytes(1).fill(&mut one);
        bytes(2).fill(&mut two);
        assert_ne!(one, two);
    }
}
