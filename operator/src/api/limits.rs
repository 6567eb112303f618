//! What one user may ask of the operator, so that a script gone wild takes nothing from nodes and other people.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::{Peer, Problem, Server};

/// Requests a second of one user, and as many at once after a pause. A `wait` for a whole fleet asks 32 times a second.
const RATE: NonZeroU32 = NonZeroU32::new(500).expect("not zero");
const BURST: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
/// Watches that one user may have open.
const STREAMS: usize = 100;

/// What each user has used.
pub struct Limits {
    requests: DefaultKeyedRateLimiter<String>,
    streams: Mutex<BTreeMap<String, usize>>,
}

impl Default for Limits {
    fn default() -> Self {
        let quota = Quota::per_second(RATE).allow_burst(BURST);
        Limits { requests: RateLimiter::keyed(quota), streams: Mutex::default() }
    }
}

/// Lets a request pass unless its user has sent too many.
pub async fn by_rate(State(server): State<Server>, request: Request, next: Next) -> Response {
    let name = request.extensions().get::<Peer>().map_or_else(String::new, |peer| peer.name.clone());
    let Err(until) = server.limits.requests.check_key(&name) else { return next.run(request).await };
    let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
    let detail = format!("{RATE} requests a second are enough for one user: try again in {wait} s");
    let mut refused = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).into_response();
    refused.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    refused
}

/// One of the watches a user may have open; free again when dropped.
pub struct Stream {
    limits: Arc<Limits>,
    name: String,
}

impl FromRequestParts<Server> for Stream {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Problem> {
        let name = parts.extensions.get::<Peer>().map_or_else(String::new, |peer| peer.name.clone());
        let mut streams = server.limits.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let open = streams.entry(name.clone()).or_default();
        if *open >= STREAMS {
            let detail = format!("you have {STREAMS} watches open: end some of them");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
        }
        *open += 1;
        Ok(Stream { limits: Arc::clone(&server.limits), name })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut streams = self.limits.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = streams.get_mut(&self.name) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.name);
            }
        }
    }
}
