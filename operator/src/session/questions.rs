//! What people ask of agents: down the plan stream, with the answer posted back. Nothing of it is stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pathsteer_crds::session::{LogAnswer, SessionEvent};
use pathsteer_crds::{LogCursor, LogPage};
use tokio::sync::{broadcast, oneshot};

/// How long an agent may take. A satellite's round trip is under a second; 64 KiB may take the rest.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions that one node may have open: each answer costs it bytes.
const OPEN: usize = 8;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("it is not connected, and nobody else has it")]
    NotConnected,
    #[error("{OPEN} people ask already")]
    Busy,
    #[error("nothing has come for {} s", PATIENCE.as_secs())]
    Silent,
}

/// Who listens, and who waits.
#[derive(Debug, Default)]
pub struct Questions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Number of the last question.
    last: u64,
    /// What is said to each node, in all its streams: one that dials anew over another uplink has two for a while.
    said: BTreeMap<String, broadcast::Sender<SessionEvent>>,
    /// By node and number: another node's answer is none.
    waiting: BTreeMap<(String, u64), oneshot::Sender<LogPage>>,
}

impl Questions {
    /// What is asked of `node` from now on, for one of its streams.
    pub fn listen(&self, node: &str) -> broadcast::Receiver<SessionEvent> {
        let mut state = self.lock();
        state.said.entry(node.to_owned()).or_insert_with(|| broadcast::Sender::new(OPEN)).subscribe()
    }

    /// What the agent of `node` has logged.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn log(
        self: &Arc<Self>,
        node: &str,
        after: Option<LogCursor>,
        tail: Option<usize>,
    ) -> Result<LogPage, Unanswered> {
        let (_asked, answer) = self.ask(node, |request| SessionEvent::Log { request, after, tail })?;
        tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok).ok_or(Unanswered::Silent)
    }

    /// `node` has answered. Whom nobody waits for any more came too late, which is no fault of its.
    pub fn answered(&self, node: &str, answer: LogAnswer) {
        if let Some(waiting) = self.lock().waiting.remove(&(node.to_owned(), answer.request)) {
            // It has just given up.
            drop(waiting.send(answer.page));
        }
    }

    fn ask(
        self: &Arc<Self>,
        node: &str,
        question: impl FnOnce(u64) -> SessionEvent,
    ) -> Result<(Asked, oneshot::Receiver<LogPage>), Unanswered> {
        let mut state = self.lock();
        let open = state.waiting.range((node.to_owned(), 0)..=(node.to_owned(), u64::MAX)).count();
        let number = state.last + 1;
        let said = state.said.get(node).ok_or(Unanswered::NotConnected)?;
        if open >= OPEN {
            return Err(Unanswered::Busy);
        }
        said.send(question(number)).map_err(|_| Unanswered::NotConnected)?;
        let (waiting, answer) = oneshot::channel();
        state.last = number;
        state.waiting.insert((node.to_owned(), number), waiting);
        Ok((Asked { questions: Arc::clone(self), key: (node.to_owned(), number) }, answer))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that somebody waits for; over when dropped, also with who asked it.
struct Asked {
    questions: Arc<Questions>,
    key: (String, u64),
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.questions.lock().waiting.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(sequence: u64) -> LogPage {
        LogPage { lines: vec![], next: LogCursor { run: 1, sequence }, more: false, missed: 0 }
    }

    fn number(event: &SessionEvent) -> u64 {
        let SessionEvent::Log { request, .. } = event else { panic!("{event:?}") };
        *request
    }

    #[tokio::test]
    async fn the_answer_of_the_node_that_was_asked_counts_and_nobody_elses() {
        let questions = Arc::new(Questions::default());
        let mut stream = questions.listen("rv-07");
        let asked = tokio::spawn({
            let questions = Arc::clone(&questions);
            async move { questions.log("rv-07", None, Some(3)).await }
        });
        let request = number(&stream.recv().await.unwrap());
        questions.answered("rv-08", LogAnswer { request, page: page(8) });
        questions.answered("rv-07", LogAnswer { request: request + 1, page: page(9) });
        questions.answered("rv-07", LogAnswer { request, page: page(7) });
        assert_eq!(asked.await.unwrap(), Ok(page(7)));
        assert!(questions.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_node_without_a_stream_is_not_asked() {
        let questions = Arc::new(Questions::default());
        assert_eq!(questions.log("rv-07", None, None).await, Err(Unanswered::NotConnected));
        drop(questions.listen("rv-07"));
        assert_eq!(questions.log("rv-07", None, None).await, Err(Unanswered::NotConnected));
        assert!(questions.lock().waiting.is_empty());
    }

    #[test]
    fn a_node_has_few_questions_open_and_whoever_goes_away_takes_his_along() {
        let questions = Arc::new(Questions::default());
        let _streams = (questions.listen("rv-07"), questions.listen("rv-08"));
        let ask = |node| questions.ask(node, |request| SessionEvent::Log { request, after: None, tail: None });
        let mut open: Vec<_> = (0..OPEN).map(|_| ask("rv-07").unwrap_or_else(|why| panic!("{why}"))).collect();
        assert_eq!(ask("rv-07").err(), Some(Unanswered::Busy));
        assert!(ask("rv-08").is_ok(), "another node is not meant");
        open.pop();
        assert!(ask("rv-07").is_ok());
    }
}
