//! Suites of cases that run in a sandbox, one after another on one stage, and tell at the very end what has failed.

mod notes;
mod theatre;

pub use notes::Notes;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use crate::program::Program;
use crate::tree;
use theatre::Theatre;

/// What the cases of a suite share, in the order in which each of them has to find it.
pub trait Stage: Sized + Send + 'static {
    /// Builds it; its programs log into the folder `logs`.
    ///
    /// # Errors
    /// When something does not come up.
    fn open(logs: &Path) -> Result<Self>;

    /// Waits until everything is as a case has to find it, after one that went `well`, or failed and may have left
    /// anything.
    ///
    /// # Errors
    /// When that cannot be had: no further case is played then.
    fn restore(&mut self, well: bool) -> Result<()>;

    /// What the case wants to tell beside its verdict.
    fn remarks(&mut self) -> &mut Vec<String>;
}

/// What a case does to the stage; an error is its failure.
pub type Act<S> = fn(&mut S) -> Result<()>;

/// A case that needs no stage; it adds what it wants to tell beside its verdict.
pub type Encore = fn(&mut Vec<String>) -> Result<()>;

/// Cases by the sentence that each of them shows.
pub struct Suite<S: 'static> {
    /// Also of the folder below `target` that it writes to.
    pub name: &'static str,
    /// What everything in the sandbox finds in its environment.
    pub environment: &'static [(&'static str, &'static str)],
    /// In their order, each on what the one before it has left.
    pub cases: &'static [(&'static str, Act<S>)],
    /// After the stage has been closed.
    pub encores: &'static [(&'static str, Encore)],
}

impl<S: Stage> Suite<S> {
    /// The life of the test program that consists of this suite.
    pub fn main(&'static self) -> ExitCode {
        main(self.name, self.environment, |arguments| self.run(arguments))
    }

    fn run(&'static self, mut arguments: Arguments) -> i32 {
        // There is one stage, and each case changes it.
        arguments.test_threads = Some(1);
        let out = tree::out(self.name);
        let notes = Notes::default();
        let theatre = Arc::new(Mutex::new(Theatre::<S>::Closed));
        let on_stage = |&(name, act): &(&'static str, Act<S>)| {
            let (theatre, out) = (Arc::clone(&theatre), out.clone());
            notes.trial(name, move |remarks| {
                let mut theatre = theatre.lock().unwrap_or_else(PoisonError::into_inner);
                theatre.perform(|| S::open(&tree::logs(&out)?), act, remarks)
            })
        };
        let encore = |&(name, act): &(&'static str, Encore)| {
            let theatre = Arc::clone(&theatre);
            notes.trial(name, move |remarks| {
                // It would take time that may be measured here.
                *theatre.lock().unwrap_or_else(PoisonError::into_inner) = Theatre::Closed;
                act(remarks)
            })
        };
        let trials: Vec<Trial> = self.cases.iter().map(on_stage).chain(self.encores.iter().map(encore)).collect();
        let conclusion = libtest_mimic::run(&arguments, trials);
        notes.conclude(&conclusion, Some(&out.join("logs")))
    }
}

/// The life of a test program called `name` whose cases run in a sandbox: `run` carries out what the arguments select
/// and returns the exit code. What only lists cases needs no sandbox.
pub fn main(
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
    run: impl Fn(Arguments) -> i32,
) -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let outside = |words: &[OsString]| {
        let arguments = Arguments::from_iter(words);
        Ok(arguments.list.then(|| run(arguments)))
    };
    Program { name, environment }.run(&words, outside, |words| Ok(run(Arguments::from_iter(words))))
}
