//! A program whose work is done in a sandbox: it starts itself again as the sandbox's init, and that once more as the
//! process that does the work.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::sandbox::{self, Lifetime};

/// A program that a person starts.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// What its errors begin with.
    pub name: &'static str,
    /// What everything in the sandbox finds in its environment.
    pub environment: &'static [(&'static str, &'static str)],
}

impl Program {
    /// Carries out `words`: the command line, from the program's own name on. `outside` sees them first, in the process
    /// that was started; where it has no exit code for them, `inside` sees the same words in the sandbox. To be called
    /// before any thread is started.
    pub fn run(
        self,
        words: &[OsString],
        outside: impl FnOnce(&[OsString]) -> Result<Option<i32>>,
        inside: impl FnOnce(&[OsString]) -> Result<i32>,
    ) -> ExitCode {
        let outcome = match words.get(1).and_then(|word| word.to_str()) {
            Some(sandbox::INIT) => sandbox::init(&words[2..]),
            Some(sandbox::INSIDE) => inside(&[&words[..1], &words[2..]].concat()),
            _ => outside(words).and_then(|code| code.map_or_else(|| self.in_a_sandbox(words), Ok)),
        };
        match outcome {
            Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
            Err(error) => {
                eprintln!("{}: {error:#}", self.name);
                ExitCode::FAILURE
            }
        }
    }

    fn in_a_sandbox(self, words: &[OsString]) -> Result<i32> {
        let environment = self.environment.iter().copied();
        let init = sandbox::start(&words[1..], Lifetime::WithStarter, |command| {
            command.envs(environment);
        })?;
        // As a shell has it after an interrupt.
        Ok(sandbox::wait(init)?.code().unwrap_or(130))
    }
}
