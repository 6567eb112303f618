//! What a person's shell and `man` want to know about the command line itself.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::failure::Failure;

/// Completions for `shell`, as a script.
pub fn completion(shell: Shell, out: &mut dyn Write) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pathsteer", &mut script);
    Ok(out.write_all(&script)?)
}

/// A manual page for every command, written to `folder`.
///
/// # Errors
/// The folder cannot be written.
pub fn manual(folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let failed = |source| Failure::File { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Arguments::command(), folder).map_err(failed)?;
    writeln!(out, "begin with: man -l {}", folder.join("pathsteer.1").display())?;
    Ok(())
}
