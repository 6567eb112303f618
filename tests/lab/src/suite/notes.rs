//! What cases have to tell, and the failures once more after everything else: of a long run people see the last lines.

use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Conclusion, Failed, Trial};

use super::theatre::guarded;
use crate::clock;

/// Lines of a failure that are told again: its head says what was expected, its end why.
const HEAD: usize = 6;
const TAIL: usize = 9;
/// Characters of such a line.
const WIDTH: usize = 400;
/// The exit code of cargo's own tests that failed.
const FAILED: i32 = 101;

/// Notes that the cases of a suite take.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<Note>>>);

/// What one case had to tell.
#[derive(Debug)]
struct Note {
    name: String,
    took: Duration,
    remarks: Vec<String>,
    failure: Option<String>,
}

impl Notes {
    /// The trial of `case`, which adds what it wants to tell beside its verdict.
    pub fn trial(
        &self,
        name: impl Into<String>,
        case: impl FnOnce(&mut Vec<String>) -> Result<()> + Send + 'static,
    ) -> Trial {
        let (notes, name) = (self.clone(), name.into());
        Trial::test(name.clone(), move || {
            let start = clock::now();
            let mut remarks = Vec::new();
            let failure = guarded(|| case(&mut remarks)).err().map(|error| format!("{error:#}"));
            let note = Note { name, took: clock::now() - start, remarks, failure: failure.clone() };
            notes.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
            failure.map_or(Ok(()), |failure| Err(Failed::from(failure)))
        })
    }

    /// Prints everything that was told, then where the logs are, then the failures; the exit code.
    pub fn conclude(&self, conclusion: &Conclusion, logs: Option<&Path>) -> i32 {
        print!("{}", words(&self.0.lock().unwrap_or_else(PoisonError::into_inner), logs));
        if conclusion.has_failed() { FAILED } else { 0 }
    }
}

fn words(notes: &[Note], logs: Option<&Path>) -> String {
    let mut text = String::new();
    for Note { name, took, remarks, .. } in notes {
        let _ = writeln!(text, "{name}: {:.1} s", took.as_secs_f64());
        remarks.iter().for_each(|remark| _ = writeln!(text, "    {remark}"));
    }
    let failures = || notes.iter().filter_map(|note| Some((&note.name, note.failure.as_ref()?)));
    if let (Some(logs), true) = (logs, failures().next().is_some()) {
        let _ = writeln!(text, "logs: {}", logs.display());
    }
    // The first one comes last: others may have followed from it, and then all of them for one reason.
    let mut failures = failures().rev().peekable();
    while let Some((name, failure)) = failures.next() {
        let _ = writeln!(text, "FAILED {name}");
        if failures.peek().is_none_or(|(_, next)| *next != failure) {
            shortened(failure).iter().for_each(|line| _ = writeln!(text, "    {line}"));
        }
    }
    text
}

/// The first and the last lines of `text`, none of them too long.
fn shortened(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(narrow).collect();
    if lines.len() > HEAD + TAIL {
        let left_out = lines.len() - HEAD - TAIL;
        lines.splice(HEAD..HEAD + left_out, [format!("[{left_out} lines are above]")]);
    }
    lines
}

fn narrow(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{} […]", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &str, failure: Option<String>) -> Note {
        Note { name: name.into(), took: Duration::from_secs(1), remarks: vec![format!("{name} says so")], failure }
    }

    #[test]
    fn failures_come_last_the_first_one_at_the_very_end_and_one_reason_of_several_once() {
        let failed = |name, why: &str| note(name, Some(why.to_owned()));
        let notes = [failed("a", "one\ntwo"), note("b", None), failed("c", "ruins"), failed("d", "ruins")];
        let told = words(&notes, Some(Path::new("/logs")));
        let end = "logs: /logs\nFAILED d\nFAILED c\n    ruins\nFAILED a\n    one\n    two\n";
        let first = "a: 1.0 s\n    a says so\nb: 1.0 s\n    b says so\n";
        assert!(told.starts_with(first) && told.ends_with(end), "{told}");
    }

    #[test]
    fn of_a_run_without_failures_no_logs_are_named() {
        assert_eq!(words(&[note("b", None)], Some(Path::new("/logs"))), "b: 1.0 s\n    b says so\n");
    }

    #[test]
    fn a_long_failure_keeps_its_head_and_its_end() {
        let long: Vec<String> = (1..=40).map(|line| format!("line {line}")).collect();
        let short = shortened(&long.join("\n"));
        assert_eq!(short.len(), HEAD + 1 + TAIL);
        assert_eq!(
            (&short[0][..], &short[HEAD][..], &short[HEAD + TAIL][..]),
            ("line 1", "[25 lines are above]", "line 40")
        );
        assert_eq!(shortened(&long[..HEAD + TAIL].join("\n")), long[..HEAD + TAIL]);
    }

    #[test]
    fn a_wide_line_is_cut_between_characters() {
        assert_eq!(narrow(&"ä".repeat(WIDTH)), "ä".repeat(WIDTH));
        assert_eq!(narrow(&"ä".repeat(WIDTH + 1)), format!("{} […]", "ä".repeat(WIDTH)));
    }
}
