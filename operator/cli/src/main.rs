//! `pathsteer`: declares, shows and steers a fabric from the command line.

mod api_resources;
mod apply;
mod args;
mod client;
mod columns;
mod context;
mod csr;
mod describe;
mod diff;
mod duration;
mod edit;
mod entry;
mod events;
mod explain;
mod failure;
mod follow;
mod get;
mod load;
mod logs;
mod node;
mod object;
mod paths;
mod plan;
mod query;
mod refusal;
mod report;
mod run;
mod settings;
mod shell;
mod status;
mod steer;
mod table;
mod wait;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    let result =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failure::Failure::Output).and_then(
            |runtime| {
                let mut out = std::io::stdout().lock();
                runtime.block_on(run::run(arguments, &mut out))?;
                Ok(out.flush()?)
            },
        );
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.text());
            ExitCode::from(failure.exit_code())
        }
    }
}
