//! A page: prose, and blocks of commands with what they print.
//!
//! In a block marked `console` a line `$ …` is a command; one that ends with `# exit code N` ends so, every other with 0.
//! What follows is what it prints on both outputs: `[..]` stands for anything within a line, a line `...` for any lines.

use std::process::Output;

const BEGIN: &str = "```console";
const END: &str = "```";
const EXIT: &str = "# exit code ";

/// A page as it is written.
pub struct Page {
    parts: Vec<Part>,
}

enum Part {
    /// A line outside of examples, or the fence of one.
    Line(String),
    Example {
        command: String,
        printed: Vec<String>,
    },
}

impl Page {
    pub fn parse(text: &str) -> Page {
        let mut parts = Vec::new();
        let mut is_console = false;
        for line in text.lines() {
            match (line, is_console) {
                (BEGIN, false) | (END, true) => {
                    is_console = !is_console;
                    parts.push(Part::Line(line.to_owned()));
                }
                (_, true) if line.starts_with("$ ") => {
                    parts.push(Part::Example { command: line[2..].to_owned(), printed: Vec::new() });
                }
                (_, true) => match parts.last_mut() {
                    Some(Part::Example { command, printed }) if command.ends_with('\\') && printed.is_empty() => {
                        command.push('\n');
                        command.push_str(line);
                    }
                    Some(Part::Example { printed, .. }) => printed.push(line.to_owned()),
                    _ => parts.push(Part::Line(line.to_owned())),
                },
                _ => parts.push(Part::Line(line.to_owned())),
            }
        }
        Page { parts }
    }

    pub fn has_examples(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Example { .. }))
    }

    /// Carries out every example. The page as it would be written now, and where that is not what it says.
    pub fn run(&self, run: impl Fn(&str) -> std::io::Result<Output>) -> std::io::Result<(String, Vec<String>)> {
        let (mut written, mut differences) = (String::new(), Vec::new());
        for part in &self.parts {
            let (command, printed) = match part {
                Part::Line(line) => {
                    written.push_str(&format!("{line}\n"));
                    continue;
                }
                Part::Example { command, printed } => (command, printed),
            };
            let output = run(command)?;
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            let (bare, expected) = match command.rsplit_once(EXIT) {
                Some((bare, code)) => (bare.trim_end(), code.trim().parse().unwrap_or(-1)),
                None => (command.as_str(), 0),
            };
            let code = output.status.code().unwrap_or(-1);
            let now: Vec<&str> = text.lines().map(str::trim_end).collect();
            if code != expected {
                differences.push(format!("$ {command}\nended with {code}:\n{text}"));
            }
            let is_same = matches(printed, &now);
            if !is_same {
                differences.push(format!("$ {command}\nprints\n{text}instead of\n{}", printed.join("\n")));
            }
            let note = if code == 0 { String::new() } else { format!("  {EXIT}{code}") };
            written.push_str(&format!("$ {bare}{note}\n"));
            let lines = if is_same { printed.clone() } else { now.iter().map(|line| veiled(line)).collect() };
            lines.iter().for_each(|line| written.push_str(&format!("{line}\n")));
        }
        Ok((written, differences))
    }
}

/// Whether lines are as a page says.
fn matches(expected: &[String], now: &[&str]) -> bool {
    let Some((first, rest)) = expected.split_first() else { return now.is_empty() };
    if first == "..." {
        return (0..=now.len()).any(|skipped| matches(rest, &now[skipped..]));
    }
    now.split_first().is_some_and(|(line, more)| fits(first, line) && matches(rest, more))
}

/// Whether a line is as a page says.
fn fits(expected: &str, line: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected == line,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| fits(after, &rest[at..]))
        }),
    }
}

/// A line with what differs from run to run taken out: times, and revisions of the store.
fn veiled(line: &str) -> String {
    let is_time = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        word.len() >= 20 && word.ends_with('Z') && word.as_bytes().get(4) == Some(&b'-') && word.contains("T")
    };
    let words = line.split(' ').map(|word| if is_time(word) { "[..]" } else { word });
    let line = words.collect::<Vec<_>>().join(" ");
    for before in ["resourceVersion: ", "observedGeneration: ", "\"resourceVersion\": ", "\"observedGeneration\": "] {
        if let Some((head, tail)) = line.split_once(before) {
            let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            return format!("{head}{before}[..]{}", &tail[digits..]);
        }
    }
    line
}
