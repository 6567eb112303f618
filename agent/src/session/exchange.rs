//! Requests of a session and their answers.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http2};
use pathsteer_crds::{report::NodeReport, session::REPORT_PATH};
use tokio::sync::watch;

use super::SessionError;

pub(super) type Sender = http2::SendRequest<Full<Bytes>>;

/// Posts every report as it changes, for ever.
pub(super) async fn post_reports(
    mut sender: Sender,
    authority: String,
    mut reports: watch::Receiver<Option<NodeReport>>,
) {
    loop {
        let report = reports.borrow_and_update().clone();
        if let Some(report) = report
            && let Err(error) = post(&mut sender, &authority, REPORT_PATH, &report).await
        {
            tracing::warn!(%error, "report");
        }
        if reports.changed().await.is_err() {
            return;
        }
    }
}

pub(super) async fn post<T: serde::Serialize>(
    sender: &mut Sender,
    authority: &str,
    path: &'static str,
    body: &T,
) -> Result<(), SessionError> {
    let body = serde_json::to_vec(body)?;
    let response = sender.send_request(request("POST", authority, path, body.into())).await?;
    accepted(path, response).await.map(drop)
}

pub(super) fn request(method: &str, authority: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method.parse().unwrap_or_default();
    // only an authority that cannot be dialled fails here, and it was dialled
    *request.uri_mut() = format!("https://{authority}{path}").parse().unwrap_or_default();
    request.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    request
}

/// The answer, unless it is a refusal.
pub(super) async fn accepted(
    path: &'static str,
    response: Response<Incoming>,
) -> Result<Response<Incoming>, SessionError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.into_body().collect().await?.to_bytes();
    Err(SessionError::Refused { path, status, detail: String::from_utf8_lossy(&body).into_owned() })
}
