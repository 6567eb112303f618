//! What an agent has logged: what its operator is answered over the session, and people over the API.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Lines that an agent keeps at most, and so the most that can be asked for at once.
pub const LOG_LINES: usize = 1_000;

/// The next lines of an agent's log, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// Where the next page begins, as its `after`.
    pub next: LogCursor,
    /// There are more lines already: an answer has 64 KiB at most.
    #[serde(default)]
    pub more: bool,
    /// Lines between `after` and the first of these that the agent does not keep any more.
    #[serde(default)]
    pub missed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// From 1 at each start of the agent, without gaps.
    pub sequence: u64,
    /// RFC 3339 in UTC with milliseconds, by the node's clock as it was then.
    pub time: String,
    pub level: LogLevel,
    /// Which part of the agent it is from.
    pub target: String,
    /// With its fields, as `name=value`.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As it stands in a line for people.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        }
    }
}

/// A place in an agent's log. It names the run of the agent, too: another one counts anew, and all its lines come after
/// whatever the one before has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LogCursor {
    /// Drawn at the agent's start.
    pub run: u64,
    /// Of the last line before this place; 0: none.
    pub sequence: u64,
}

/// What is written where a place in a log is wanted, and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place in a log: give back what the answer before says under `next`")]
pub struct NotACursor(String);

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.run, self.sequence)
    }
}

impl FromStr for LogCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<LogCursor, NotACursor> {
        let read = || {
            let (run, sequence) = text.split_once('-')?;
            Some(LogCursor { run: u64::from_str_radix(run, 16).ok()?, sequence: sequence.parse().ok()? })
        };
        // in one form alone: other spellings of a number are not what was given out
        read().filter(|cursor| cursor.to_string() == text).ok_or_else(|| NotACursor(text.to_owned()))
    }
}

impl From<LogCursor> for String {
    fn from(cursor: LogCursor) -> String {
        cursor.to_string()
    }
}

impl TryFrom<String> for LogCursor {
    type Error = NotACursor;

    fn try_from(text: String) -> Result<LogCursor, NotACursor> {
        text.parse()
    }
}

impl JsonSchema for LogCursor {
    fn schema_name() -> Cow<'static, str> {
        "LogCursor".into()
    }

    /// It stands in queries, which refer to nothing.
    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9a-f]{16}-(0|[1-9][0-9]{0,18})$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_in_the_form_it_was_given_out_in_and_no_other() {
        for cursor in [LogCursor { run: 0, sequence: 0 }, LogCursor { run: u64::MAX, sequence: 1_234 }] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for wrong in
            ["", "7", "00000000000000ff", "ff-7", "00000000000000ff-", "00000000000000ff-07", "00000000000000FF-7"]
        {
            assert!(wrong.parse::<LogCursor>().is_err(), "{wrong}");
        }
    }
}
