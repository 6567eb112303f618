//! Requests of a session and their answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http2,
    header::{CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH},
};
use pathsteer_agent_core::Pace;
use pathsteer_crds::{merge_patch, report::NodeReport, session::REPORT_PATH};
use serde_json::Value;
use tokio::sync::watch;

use super::SessionError;
use crate::report::news;

pub(super) type Sender = http2::SendRequest<Full<Bytes>>;

/// How long to wait before a report that was not taken is posted again: the store may be away for a while.
const AGAIN: Duration = Duration::from_secs(1);
/// The same after many attempts: bytes cost money.
const SELDOM: Duration = Duration::from_secs(30);

/// Tells the operator how things stand.
pub(super) struct Reporter {
    pub sender: Sender,
    pub authority: String,
    /// What has only grown is told so often.
    pub quiet: Duration,
    /// How fast what changes is told.
    pace: Pace,
    /// Of which plan the operator has heard, by store epoch and generation.
    pub heard: watch::Sender<(u64, i64)>,
    /// What the operator has, and its name for it if it takes changes.
    told: Option<(NodeReport, Option<HeaderValue>)>,
}

impl Reporter {
    pub fn new(
        sender: Sender,
        authority: String,
        (quiet, every): (Duration, Duration),
        heard: watch::Sender<(u64, i64)>,
    ) -> Self {
        Reporter { sender, authority, quiet, pace: Pace::new(every), heard, told: None }
    }

    /// Tells what is news, for ever: the whole first, then what changed, at the pace of [`Pace`]. What is not taken is
    /// told again: a state that does not change any more would otherwise never be known.
    pub async fn run(mut self, mut reports: watch::Receiver<Option<NodeReport>>) {
        let begun = Instant::now();
        let (mut again, mut all_told) = (AGAIN, None::<Instant>);
        reports.mark_changed();
        while reports.changed().await.is_ok() {
            tokio::time::sleep(self.pace.wait(begun.elapsed())).await;
            // only now: whatever came while it was not yet time is in it
            let Some(fresh) = reports.borrow_and_update().clone() else { continue };
            let quiet = all_told.is_none_or(|told| told.elapsed() >= self.quiet);
            let Some(news) = news(self.told.as_ref().map(|(told, _)| told), fresh, quiet) else { continue };
            let order = (news.store_epoch, news.generation);
            match self.tell(news).await {
                Ok(()) => {
                    self.heard.send_replace(order);
                    self.pace.sent(begun.elapsed());
                    again = AGAIN;
                    all_told = all_told.filter(|_| !quiet).or_else(|| Some(Instant::now()));
                }
                Err(error) => {
                    if again == AGAIN {
                        tracing::warn!(%error, "a report was not taken, it will be posted again");
                    }
                    tokio::time::sleep(again).await;
                    again = SELDOM.min(2 * again);
                    reports.mark_changed();
                }
            }
        }
    }

    /// Sends what changed to an operator that has what it changed from, and the whole to any other.
    async fn tell(&mut self, news: NodeReport) -> Result<(), SessionError> {
        let whole = serde_json::to_value(&news)?;
        if let Some((told, Some(name))) = &self.told {
            let patch = merge_patch::between(&serde_json::to_value(told)?, &whole).unwrap_or_default();
            match self.send("PATCH", Some(name.clone()), &patch).await {
                Ok(name) => {
                    self.told = Some((news, name));
                    return Ok(());
                }
                Err(SessionError::Refused { status, .. }) if status.is_client_error() => self.told = None,
                Err(error) => return Err(error),
            }
        }
        let name = self.send("POST", None, &whole).await?;
        self.told = Some((news, name));
        Ok(())
    }

    async fn send(
        &self,
        method: &str,
        base: Option<HeaderValue>,
        body: &Value,
    ) -> Result<Option<HeaderValue>, SessionError> {
        let mut request = request(method, &self.authority, REPORT_PATH, serde_json::to_vec(body)?.into());
        if let Some(base) = base {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"));
            request.headers_mut().insert(IF_MATCH, base);
        }
        let response = self.sender.clone().send_request(request).await?;
        Ok(accepted(REPORT_PATH, response).await?.headers().get(ETAG).cloned())
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
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
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
    use std::{
        convert::Infallible,
        sync::{Arc, Mutex},
    };

    use hyper::{StatusCode, server, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::sync::mpsc;

    use super::*;

    /// What came: how, and the body.
    type Came = (String, Value);
    /// What is answered: how, and the name of what the operator then has.
    type Answer = (StatusCode, Option<&'static str>);

    /// A reporter whose posts are answered as `answers` say, one after the other, and then all like the last.
    async fn reporter(answers: Vec<Answer>) -> (watch::Sender<Option<NodeReport>>, mpsc::UnboundedReceiver<Came>) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (posted, posts) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(answers));
        let operator = service_fn(move |request: Request<Incoming>| {
            let (posted, answers) = (posted.clone(), Arc::clone(&answers));
            async move {
                let base = request.headers().get(IF_MATCH).map(|base| base.to_str().unwrap().to_owned());
                let how = format!("{} {}", request.method(), base.unwrap_or_default());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                posted.send((how.trim().to_owned(), serde_json::from_slice(&body).unwrap())).unwrap();
                let mut answers = answers.lock().unwrap();
                let (status, name) = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
                let mut response = Response::builder().status(status);
                if let Some(name) = name {
                    response = response.header(ETAG, name);
                }
                Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
            }
        });
        tokio::spawn(
            server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), operator),
        );
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        let (reports, reported) = watch::channel(Some(report(7)));
        let reporter = Reporter::new(
            sender,
            "operator:7443".into(),
            (Duration::from_secs(3_600), Duration::from_secs(1)),
            watch::Sender::new((0, 0)),
        );
        tokio::spawn(reporter.run(reported));
        (reports, posts)
    }

    fn report(generation: i64) -> NodeReport {
        NodeReport { node: "rv-07".into(), generation, ..NodeReport::default() }
    }

    async fn next(posts: &mut mpsc::UnboundedReceiver<Came>) -> Came {
        let post = tokio::time::timeout(Duration::from_secs(10), posts.recv()).await;
        post.expect("there is another post").unwrap()
    }

    fn whole(generation: i64) -> Value {
        serde_json::to_value(report(generation)).unwrap()
    }

    #[tokio::test]
    async fn a_report_that_was_refused_is_posted_again_though_nothing_changed() {
        let (_reports, mut posts) =
            reporter(vec![(StatusCode::SERVICE_UNAVAILABLE, None), (StatusCode::NO_CONTENT, None)]).await;
        for _ in 0..2 {
            assert_eq!(next(&mut posts).await, ("POST".into(), whole(7)));
        }
    }

    #[tokio::test]
    async fn after_the_whole_only_what_changed_is_sent() {
        let (reports, mut posts) =
            reporter(vec![(StatusCode::NO_CONTENT, Some("\"one\"")), (StatusCode::NO_CONTENT, Some("\"two\""))]).await;
        assert_eq!(next(&mut posts).await, ("POST".into(), whole(7)));
        reports.send_replace(Some(report(8)));
        assert_eq!(next(&mut posts).await, ("PATCH \"one\"".into(), serde_json::json!({"generation": 8})));
        reports.send_replace(Some(NodeReport { verified: true, ..report(8) }));
        assert_eq!(next(&mut posts).await, ("PATCH \"two\"".into(), serde_json::json!({"verified": true})));
    }

    #[tokio::test]
    async fn an_operator_that_has_something_else_gets_the_whole_at_once() {
        let (reports, mut posts) = reporter(vec![
            (StatusCode::NO_CONTENT, Some("\"one\"")),
            (StatusCode::PRECONDITION_FAILED, None),
            (StatusCode::NO_CONTENT, Some("\"two\"")),
        ])
        .await;
        next(&mut posts).await;
        reports.send_replace(Some(report(8)));
        assert_eq!(next(&mut posts).await.0, "PATCH \"one\"");
        assert_eq!(next(&mut posts).await, ("POST".into(), whole(8)));
    }

    #[tokio::test]
    async fn an_operator_of_the_version_before_gets_whole_reports() {
        let (reports, mut posts) = reporter(vec![(StatusCode::NO_CONTENT, None)]).await;
        next(&mut posts).await;
        reports.send_replace(Some(report(8)));
        assert_eq!(next(&mut posts).await, ("POST".into(), whole(8)));
    }

    #[tokio::test]
    async fn a_state_that_flaps_is_told_seldom_and_where_it_ends_is_told() {
        let (reports, mut posts) = reporter(vec![(StatusCode::NO_CONTENT, Some("\"one\""))]).await;
        let end = 1_000;
        for generation in 0..=end {
            reports.send_replace(Some(report(generation)));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut told = Vec::new();
        while told.last() != Some(&end) {
            told.push(next(&mut posts).await.1["generation"].as_i64().unwrap());
        }
        // a burst of 20, and then one a second
        assert!(told.len() < 30, "a thousand changes and the end of them took {} posts: {told:?}", told.len());
    }
}
