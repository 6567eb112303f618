//! `pathsteer-operator`.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use pathsteer_operator::args::{Arguments, Backup, Command, Restore};
use pathsteer_operator::{backup, confirm, etcd, issue, run};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pathsteer-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => {
            let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_ansi(std::io::stderr().is_terminal())
                .with_writer(std::io::stderr)
                .init();
            runtime()?.block_on(run::run(arguments))?;
        }
        Command::Issue(arguments) => issue::issue(&arguments)?,
        Command::EtcdctlEnv { data_dir } => print!("{}", etcd::shell_exports(&data_dir)?),
        Command::ConfirmDeletion { data_dir } => {
            let confirmed = runtime()?.block_on(confirm::confirm(&data_dir))?;
            println!("confirmed: {confirmed}");
        }
        Command::Backup(Backup { data_dir, out }) => {
            let (keys, revision) = runtime()?.block_on(backup::save(&data_dir, &out))?;
            println!("{}: authority and {keys} keys of revision {revision}", out.display());
        }
        Command::Restore(Restore { data_dir, from, replace }) => {
            let restored = runtime()?.block_on(backup::restore(&data_dir, &from, replace))?;
            println!("{}: authority and {} keys as of {}", data_dir.display(), restored.keys, restored.created);
            if let Some(aside) = restored.aside {
                println!("what was there is now in {}", aside.display());
            }
        }
        Command::Version => println!("pathsteer-operator {}", env!("CARGO_PKG_VERSION")),
    }
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // The only provider there is: the etcd client asks the process for one.
    let installed = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(installed.is_ok(), "nobody installed one before");
    tokio::runtime::Runtime::new().context("cannot start the runtime")
}
