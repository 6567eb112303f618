//! Requests of a session and their answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http2};
use pathsteer_crds::{report::NodeReport, session::REPORT_PATH};
use tokio::sync::watch;

use super::SessionError;

pub(super) type Sender = http2::SendRequest<Full<Bytes>>;

/// How long to wait before a report that was not taken is posted again: the store may be away for a while.
const AGAIN: Duration = Duration::from_secs(1);

/// Posts every report as it changes, for ever, and says of which plan the operator has `heard`. One that is not taken is posted again: a state that does not change any
/// more would otherwise never be known.
pub(super) async fn post_reports(
    mut sender: Sender,
    authority: String,
    mut reports: watch::Receiver<Option<NodeReport>>,
    heard: watch::Sender<(u64, i64)>,
) {
    let mut refused = false;
    loop {
        let report = reports.borrow_and_update().clone();
        let posted = match &report {
            Some(report) => post(&mut sender, &authority, REPORT_PATH, report).await,
            None => Ok(()),
        };
        if let (Some(report), Ok(())) = (&report, &posted) {
            heard.send_replace((report.store_epoch, report.generation));
        }
        if let Err(error) = &posted
            && !refused
        {
            tracing::warn!(%error, "a report was not taken, it will be posted again");
        }
        refused = posted.is_err();
        tokio::select! {
            changed = reports.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if refused => {}
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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Mutex};

    use hyper::{StatusCode, server, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_report_that_was_refused_is_posted_again_though_nothing_changed() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (posted, mut posts) = mpsc::unbounded_channel();
        let answers = Mutex::new(vec![StatusCode::NO_CONTENT, StatusCode::SERVICE_UNAVAILABLE]);
        let operator = service_fn(move |request: Request<Incoming>| {
            let status = answers.lock().unwrap().pop().unwrap();
            let posted = posted.clone();
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                posted.send(serde_json::from_slice::<NodeReport>(&body).unwrap()).unwrap();
                Ok::<_, Infallible>(Response::builder().status(status).body(Full::<Bytes>::default()).unwrap())
            }
        });
        tokio::spawn(
            server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), operator),
        );
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        let report = NodeReport { node: "rv-07".into(), generation: 7, ..NodeReport::default() };
        let (_reports, reported) = watch::channel(Some(report.clone()));
        tokio::spawn(post_reports(sender, "operator:7443".into(), reported, watch::Sender::new((0, 0))));
        for _ in 0..2 {
            let post = tokio::time::timeout(Duration::from_secs(10), posts.recv()).await;
            assert_eq!(post.expect("it is posted twice"), Some(report.clone()));
        }
    }
}
