//! Bodies and queries, with refusals as problem documents.

use std::time::Duration;

use axum::RequestExt;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError};
use serde::de::DeserializeOwned;

use super::Problem;

/// How long a body may stand still. However slow a line is, something comes in that time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A JSON body, whatever its content type.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request.into_limited_body()).await?;
        let body = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))?;
        Ok(Body(body))
    }
}

/// Everything of `body`, which is limited.
async fn read(mut body: axum::body::Body) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    loop {
        match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Ok(frame))) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Ok(Some(Err(error))) => {
                let inner = error.into_inner();
                let too_large = inner.is::<LengthLimitError>();
                let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
                return Err(Problem::new(status, format!("the body cannot be read: {inner}")));
            }
            Err(_) => {
                let detail = format!("nothing of the body has come for {} s", PATIENCE.as_secs());
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
            }
        }
    }
}

/// The query of a request.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
        Ok(Query(query.0))
    }
}
