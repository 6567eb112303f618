//! Traffic programs: as much as goes, or at a steady pace.

pub mod tcp;
pub mod udp;

use std::net::IpAddr;
use std::time::Duration;

use pathsteer_lab::clock;

/// The client, on the segment behind the edge.
pub const CLIENT: &str = "172.16.7.2";
pub const CLIENT_V6: &str = "2001:db8:7::2";
/// The server, on the internet side of the anchor.
pub const SERVER: &str = "198.51.100.2";
pub const SERVER_V6: &str = "2001:db8:51::2";

/// One of the addresses above.
///
/// # Panics
/// When it is none: they are constants.
pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no address"))
}

/// When a run is measured: after it has warmed up, so that connections and queues are in their steady state.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub begin: Duration,
    pub end: Duration,
}

impl Window {
    /// From `warm_up` from now on, for `length`.
    pub fn after(warm_up: Duration, length: Duration) -> Window {
        let begin = clock::now() + warm_up;
        Window { begin, end: begin + length }
    }

    /// From now on for a moment: long enough for a few packets.
    pub fn short() -> Window {
        Window::after(Duration::ZERO, Duration::from_millis(20))
    }

    pub fn has_begun(&self) -> bool {
        clock::now() >= self.begin
    }

    pub fn is_over(&self) -> bool {
        clock::now() >= self.end
    }

    pub fn seconds(&self) -> f64 {
        (self.end - self.begin).as_secs_f64()
    }
}
