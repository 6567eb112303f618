//! Answers that go on: one JSON document a line, until either side ends it.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pathsteer_crds::api::{WatchChange, WatchLine};
use serde::de::DeserializeOwned;

use crate::client::ClientError;

/// The lines of an answer.
pub struct Lines {
    pub server: String,
    pub path: String,
    pub body: Incoming,
    pub rest: Vec<u8>,
}

impl Lines {
    /// The next line that is about an object. None: the operator has ended.
    ///
    /// # Errors
    /// The connection broke, or a line cannot be read.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<WatchLine<T>>, ClientError> {
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            let line: WatchLine<T> = serde_json::from_slice(&line).map_err(|source| ClientError::Unreadable {
                server: self.server.clone(),
                path: self.path.clone(),
                source,
            })?;
            if line.change != WatchChange::Bookmark {
                return Ok(Some(line));
            }
        }
    }

    async fn line(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.rest.drain(..=end).collect()));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let broken = |source| ClientError::Broken { server: self.server.clone(), before_any_answer: false, source };
            let data: Bytes = frame.map_err(broken)?.into_data().unwrap_or_default();
            self.rest.extend_from_slice(&data);
        }
    }
}
