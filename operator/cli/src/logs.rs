//! `logs`: what a node's agent has logged, and what it logs.

use std::io::Write;
use std::time::Duration;

use pathsteer_crds::{LogCursor, LogLevel, LogLine, LogPage};

use crate::args::LogOutput;
use crate::client::Client;
use crate::failure::Failure;
use crate::table::{self, Cell, Tone};
use crate::{object, query};

/// Between two questions for what is new: each is 700 bytes on the node's uplink, which may cost money.
const INTERVAL: Duration = Duration::from_secs(1);

/// Whose log is shown, how much of it, and how.
pub struct Logs {
    pub node: String,
    pub tail: u16,
    pub follow: bool,
    pub output: LogOutput,
}

impl Logs {
    /// # Errors
    /// Why the log cannot be had. Once there was an answer, what passes is waited for by who follows.
    pub async fn run(self, client: &mut Client, out: &mut dyn Write) -> Result<(), Failure> {
        if self.follow && self.output == LogOutput::Json {
            return Err(Failure::Usage("what goes on is no JSON document: use -o jsonl".to_owned()));
        }
        let (node, colour) = (object::node(&self.node)?, table::wants_colour());
        let tail = self.tail.to_string();
        let mut page = ask(client, &node, ("tail", &tail)).await?;
        let mut all = std::mem::take(&mut page.lines);
        while page.more && !self.follow {
            page = ask(client, &node, ("after", &page.next.to_string())).await?;
            all.append(&mut page.lines);
        }
        out.write_all(render(&all, self.output, colour).as_bytes())?;
        if !self.follow {
            return Ok(());
        }
        let mut next = page.next;
        loop {
            out.flush()?;
            if !page.more {
                tokio::time::sleep(INTERVAL).await;
            }
            page = patiently(client, &node, next).await?;
            next = page.next;
            if page.missed > 0 {
                eprintln!("pathsteer: {} lines of {node} came and went unseen", page.missed);
            }
            out.write_all(render(&page.lines, self.output, colour).as_bytes())?;
        }
    }
}

/// What came after `next`, however long operator or node are away.
async fn patiently(client: &mut Client, node: &str, next: LogCursor) -> Result<LogPage, Failure> {
    let mut told = false;
    loop {
        match ask(client, node, ("after", &next.to_string())).await {
            Ok(page) => return Ok(page),
            Err(Failure::Client(error)) if error.is_passing() || error.is_unavailable() => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!("pathsteer: {error}; still trying");
                }
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn ask(client: &mut Client, node: &str, which: (&str, &str)) -> Result<LogPage, Failure> {
    Ok(client.get(&query::with(&format!("/v1/nodes/{node}/logs"), &[which])).await?)
}

fn render(lines: &[LogLine], output: LogOutput, colour: bool) -> String {
    match output {
        LogOutput::Table => lines.iter().map(|line| text(line, colour)).collect(),
        LogOutput::Json => format!("{:#}\n", serde_json::json!({"items": lines})),
        LogOutput::Jsonl => lines
            .iter()
            .map(|line| format!("{}\n", serde_json::to_string(line).expect("API types always serialize")))
            .collect(),
        LogOutput::Yaml if lines.is_empty() => String::new(),
        LogOutput::Yaml => serde_saphyr::to_string(&lines).expect("API types always serialize"),
    }
}

/// One line, whatever the message says: what is in it may come from others, and a terminal obeys control characters.
fn text(line: &LogLine, colour: bool) -> String {
    let tone = match line.level {
        LogLevel::Error => Tone::Bad,
        LogLevel::Warn => Tone::Doubtful,
        LogLevel::Info | LogLevel::Debug | LogLevel::Trace => Tone::Plain,
    };
    let level = table::paint(&Cell::toned(format!("{:5}", line.level.name()), tone), colour);
    let mut message = String::new();
    for c in line.message.chars() {
        match c.is_control() {
            true => message.extend(c.escape_default()),
            false => message.push(c),
        }
    }
    format!("{} {level} {message}\n", line.time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: LogLevel, message: &str) -> LogLine {
        let time = "2026-12-01T08:00:00.000Z".to_owned();
        LogLine { sequence: 1, time, level, target: "pathsteer_agent".into(), message: message.into() }
    }

    #[test]
    fn a_line_is_time_level_and_message_and_nothing_that_a_terminal_obeys() {
        let lines =
            [line(LogLevel::Info, "plan generation=7"), line(LogLevel::Error, "portal \u{1b}[2J\nhttps://ö.example")];
        insta::assert_snapshot!(render(&lines, LogOutput::Table, false), @r"
        2026-12-01T08:00:00.000Z INFO  plan generation=7
        2026-12-01T08:00:00.000Z ERROR portal \u{1b}[2J\nhttps://ö.example
        ");
        let coloured = render(&lines, LogOutput::Table, true);
        assert!(coloured.contains("\x1b[31mERROR\x1b[0m portal") && coloured.contains("Z INFO  plan"), "{coloured}");
    }

    #[test]
    fn programs_get_each_line_with_all_that_is_known_of_it() {
        let lines = [line(LogLevel::Warn, "x")];
        let one = r#"{"sequence":1,"time":"2026-12-01T08:00:00.000Z","level":"warn","target":"pathsteer_agent","message":"x"}"#;
        assert_eq!(render(&lines, LogOutput::Jsonl, true), format!("{one}\n"));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&render(&lines, LogOutput::Json, true)).unwrap()["items"][0],
            serde_json::from_str::<serde_json::Value>(one).unwrap()
        );
        assert_eq!(render(&[], LogOutput::Yaml, true), "");
    }
}
