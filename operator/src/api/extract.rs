//! Bodies and queries, with refusals as problem documents.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::Problem;

/// How long a body may take: 32 MB over a line of 2 Mb/s.
const PATIENCE: Duration = Duration::from_secs(120);

/// A JSON body, whatever its content type.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = match tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await {
            Ok(bytes) => bytes.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?,
            Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body has not come within 2 minutes")),
        };
        let body = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))?;
        Ok(Body(body))
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
