//! What the agent logs: written to standard error, and the newest lines kept in memory for when the operator asks. Nothing
//! of it goes anywhere unasked: bytes cost money.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pathsteer_crds::{LOG_LINES, LogCursor, LogLevel, LogLine, LogPage};
use time::{
    OffsetDateTime,
    format_description::well_known::{
        Iso8601,
        iso8601::{Config, EncodedConfig, TimePrecision},
    },
};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::format::{DefaultFields, FormatFields, Writer},
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

/// What messages kept take of memory at most.
const KEPT_BYTES: usize = 256 << 10;
/// The rest of a longer message is cut off.
const LONGEST_MESSAGE: usize = 8 << 10;
/// Largest answer, as it is sent: a minute of a slow satellite.
const ANSWER_BYTES: usize = 64 << 10;
const MILLISECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: std::num::NonZeroU8::new(3) }).encode();

tokio::task_local! {
    /// Of the simulated node that this task belongs to.
    static OF_NODE: Log;
}

/// The newest lines, of one run.
#[derive(Debug, Clone)]
pub struct Log(Arc<Mutex<Ring>>);

#[derive(Debug)]
struct Ring {
    run: u64,
    /// Sequence number of the last line.
    newest: u64,
    bytes: usize,
    lines: VecDeque<LogLine>,
}

impl Log {
    /// An empty log of a new run.
    pub fn new() -> Log {
        // std's own source of chance: two runs must differ, nothing else hangs on it
        let run = RandomState::new().build_hasher().finish();
        Log(Arc::new(Mutex::new(Ring { run, newest: 0, bytes: 0, lines: VecDeque::new() })))
    }

    /// Has events written to standard error as `RUST_LOG` wants, and kept. To be called once.
    pub fn begin() -> Log {
        let log = Log::new();
        // the DHCP client would tell of every question that nobody answers
        let default = |_| "info,mozim=warn".into();
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(default);
        let written = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        tracing_subscriber::registry().with(filter).with(written).with(Keeper(log.clone())).init();
        log
    }

    /// `task`, with what it logs itself kept here and not in the log of the process.
    pub async fn of<T>(self, task: impl Future<Output = T>) -> T {
        OF_NODE.scope(self, task).await
    }

    /// What came after `after`, of that the newest `tail` lines; the oldest of those first, as many as fit into an answer.
    pub fn page(&self, after: Option<LogCursor>, tail: Option<usize>) -> LogPage {
        self.lock().page(after, tail)
    }

    fn keep(&self, level: LogLevel, target: &str, message: String) {
        self.lock().keep(level, target, message);
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn keep(&mut self, level: LogLevel, target: &str, mut message: String) {
        if message.len() > LONGEST_MESSAGE {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            message.push('…');
        }
        self.newest += 1;
        self.bytes += message.len();
        let time = OffsetDateTime::now_utc().format(&Iso8601::<MILLISECONDS>).unwrap_or_default();
        self.lines.push_back(LogLine { sequence: self.newest, time, level, target: target.to_owned(), message });
        while self.lines.len() > LOG_LINES || self.bytes > KEPT_BYTES {
            let gone = self.lines.pop_front();
            self.bytes -= gone.map_or(0, |line| line.message.len());
        }
    }

    fn page(&self, after: Option<LogCursor>, tail: Option<usize>) -> LogPage {
        // A place in another run, or one that this run has not come to, is before all that there is.
        let is_known = |cursor: &LogCursor| cursor.run == self.run && cursor.sequence <= self.newest;
        let since = after.map(|cursor| Some(cursor).filter(is_known).map_or(0, |cursor| cursor.sequence));
        let mut begin = self.lines.partition_point(|line| line.sequence <= since.unwrap_or(0));
        if let Some(tail) = tail {
            begin = begin.max(self.lines.len().saturating_sub(tail));
        }
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for line in self.lines.range(begin..) {
            bytes += serde_json::to_vec(line).map_or(0, |json| json.len() + 1);
            if bytes > ANSWER_BYTES && !lines.is_empty() {
                break;
            }
            lines.push(line.clone());
        }
        let kept = self.newest - self.lines.len() as u64;
        let last = lines.last().map_or(self.newest, |line| line.sequence);
        LogPage {
            next: LogCursor { run: self.run, sequence: last },
            more: last < self.newest,
            missed: since.map_or(0, |since| kept.saturating_sub(since)),
            lines,
        }
    }
}

/// Keeps what is written.
struct Keeper(Log);

impl<S: Subscriber> Layer<S> for Keeper {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        };
        let mut message = String::new();
        // into a string, which takes everything; a field that cannot be written leaves what stands before it
        let _ = DefaultFields::new().format_fields(Writer::new(&mut message), event);
        let log = OF_NODE.try_with(Log::clone);
        log.as_ref().unwrap_or(&self.0).keep(level, metadata.target(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(messages: impl IntoIterator<Item = String>) -> Log {
        let log = Log::new();
        messages.into_iter().for_each(|message| log.keep(LogLevel::Info, "test", message));
        log
    }

    fn sequences(page: &LogPage) -> Vec<u64> {
        page.lines.iter().map(|line| line.sequence).collect()
    }

    /// Everything after `after`, page by page.
    fn read(log: &Log, mut after: Option<LogCursor>) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let page = log.page(after, None);
            all.extend(sequences(&page));
            after = Some(page.next);
            if !page.more {
                return all;
            }
        }
    }

    #[test]
    fn lines_are_counted_from_one_and_the_newest_are_kept() {
        let log = filled((1..=LOG_LINES + 5).map(|number| format!("line {number}")));
        let kept = read(&log, None);
        assert_eq!(kept, (6..=LOG_LINES as u64 + 5).collect::<Vec<_>>());
        let page = log.page(None, Some(2));
        let messages: Vec<&str> = page.lines.iter().map(|line| line.message.as_str()).collect();
        assert_eq!((messages, page.more, page.missed), (vec!["line 1004", "line 1005"], false, 0));
    }

    #[test]
    fn long_lines_are_cut_and_take_the_place_of_more_old_ones() {
        let log = filled((0..100).map(|_| "ä".repeat(LONGEST_MESSAGE)));
        let ring = log.lock();
        let bytes: usize = ring.lines.iter().map(|line| line.message.len()).sum();
        assert!(bytes <= KEPT_BYTES && bytes > KEPT_BYTES - 2 * LONGEST_MESSAGE, "{bytes}");
        assert!(
            ring.lines.iter().all(|line| line.message.ends_with("ä…") && line.message.len() <= LONGEST_MESSAGE + 3)
        );
    }

    #[test]
    fn an_answer_is_bounded_as_it_is_sent_and_says_that_there_is_more() {
        // what is six bytes each in JSON
        let log = filled((0..20).map(|_| "\u{1}".repeat(5_000)));
        let page = log.page(None, None);
        assert!(page.more && serde_json::to_vec(&page).unwrap().len() < ANSWER_BYTES + 200, "{}", page.lines.len());
        assert_eq!(page.next.sequence, page.lines.len() as u64);
        assert_eq!(read(&log, None), (1..=20).collect::<Vec<_>>(), "page by page nothing is lost");
        let huge = filled(["\u{1}".repeat(LONGEST_MESSAGE), "\u{1}".repeat(LONGEST_MESSAGE)]);
        assert_eq!(sequences(&huge.page(None, None)), [1], "one line always fits");
    }

    #[test]
    fn after_a_line_come_those_after_it_and_what_is_no_longer_kept_is_counted() {
        let log = filled((0..LOG_LINES).map(|_| String::new()));
        let cursor = |back| LogCursor { sequence: LOG_LINES as u64 - back, ..log.page(None, Some(0)).next };
        assert_eq!(sequences(&log.page(Some(cursor(2)), None)), [999, 1_000]);
        assert_eq!(sequences(&log.page(Some(cursor(2)), Some(1))), [1_000]);
        let nothing = log.page(Some(cursor(0)), None);
        assert_eq!((sequences(&nothing), nothing.next, nothing.more), (vec![], cursor(0), false));
        let old = cursor(998);
        for _ in 0..10 {
            log.keep(LogLevel::Info, "test", String::new());
        }
        let page = log.page(Some(old), Some(1));
        assert_eq!((sequences(&page), page.missed), (vec![1_010], 8));
    }

    #[test]
    fn all_of_a_restarted_agents_lines_come_after_whatever_the_one_before_has_said() {
        let restarted = filled(["up".to_owned(), "again".to_owned()]);
        for said in [1, 500] {
            let cursor = filled((0..said).map(|_| String::new())).page(None, None).next;
            assert_eq!((cursor.sequence, read(&restarted, Some(cursor))), (said, vec![1, 2]));
        }
        let beyond = LogCursor { sequence: 77, ..restarted.page(None, None).next };
        assert_eq!(read(&restarted, Some(beyond)), [1, 2], "nor does a place that there is not lose anything");
    }

    #[tokio::test]
    async fn an_event_is_kept_with_level_and_fields_in_the_log_of_the_node_whose_task_it_is() {
        let (process, node) = (Log::new(), Log::new());
        let _guard = tracing_subscriber::registry().with(Keeper(process.clone())).set_default();
        tracing::warn!(generation = 7, why = %"full", "not saved");
        node.clone().of(async { tracing::info!("in sync") }).await;
        let line = &process.page(None, None).lines[..];
        let [LogLine { sequence: 1, level: LogLevel::Warn, message, target, time }] = line else { panic!("{line:?}") };
        assert_eq!((message.as_str(), target.as_str()), ("not saved generation=7 why=full", module_path!()));
        assert!(time.len() == "2026-12-01T08:00:00.000Z".len() && time.ends_with('Z'), "{time}");
        assert_eq!(node.page(None, None).lines[0].message, "in sync");
    }
}
