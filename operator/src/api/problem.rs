//! Refusals as problem documents (RFC 9457).

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use pathsteer_crds::api;
pub use pathsteer_crds::api::ProblemItem;

use crate::store::WriteError;

/// A refusal on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(api::Problem);

impl Problem {
    /// A problem whose title is the status in words and whose detail says what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        let title = status.canonical_reason().unwrap_or_default().to_owned();
        Problem(api::Problem { status: status.as_u16(), title, detail: detail.into(), errors: Vec::new() })
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn with(mut self, errors: Vec<ProblemItem>) -> Problem {
        self.0.errors = errors;
        self
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Problem {
        match error {
            WriteError::Conflict { key } => {
                let detail = format!("{key} was changed by somebody else in between: read it again and repeat");
                Problem::new(StatusCode::CONFLICT, detail)
            }
            WriteError::TooLarge(_) => {
                let detail = format!("nothing was written: {error}; write less at once");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
            }
            WriteError::Full
            | WriteError::Forbidden(_)
            | WriteError::Etcd(_)
            | WriteError::Slow
            | WriteError::Disk(_) => {
                let detail = format!("the store does not take writes: {error}; try again, what runs keeps running");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
