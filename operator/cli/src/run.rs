//! From a command to what it does.

use std::io::Write;

use serde_json::Value;

use crate::args::{Arguments, Command, Connection, DryRun};
use crate::client::Client;
use crate::events::Events;
use crate::failure::Failure;
use crate::logs::Logs;
use crate::settings::Settings;
use crate::wait::Wait;
use crate::{api_resources, apply, context, csr, describe, diff, edit, explain, get, load, plan, shell, status, steer};

/// Carries out a command; what it has to say goes to `out`.
///
/// # Errors
/// Why it could not be carried out, or what the answer no is about.
pub async fn run(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let Arguments { connection, command } = arguments;
    let connect = || connect(connection.clone());
    match command {
        Command::Apply { manifests, dry_run, pruning } => {
            let objects = load::load(&manifests.files)?;
            match dry_run {
                Some(DryRun::Client) => apply::unasked(&objects, "valid", out),
                _ => apply::apply(&mut connect()?, objects, (dry_run.is_some(), pruning), out).await,
            }
        }
        Command::Get { object, output, selection, watch } => {
            get::get(&mut connect()?, &object, output, &selection, watch, out).await
        }
        Command::Describe { object } => describe::describe(&mut connect()?, &object, out).await,
        Command::Delete { kind, name, files, dry_run } => {
            let ids = apply::meant(kind.map(|kind| (kind, name)), &files)?;
            match dry_run {
                Some(DryRun::Client) => {
                    ids.iter().try_for_each(|id| writeln!(out, "{id} to be deleted (dry run, no operator asked)"))?;
                    Ok(())
                }
                _ => apply::delete(&mut connect()?, ids, dry_run.is_some(), out).await,
            }
        }
        Command::Edit { object } => edit::edit(&mut connect()?, &object, out).await,
        Command::Diff { manifests, pruning } => {
            let told = async {
                let objects = load::load(&manifests.files)?;
                diff::diff(&mut connect()?, objects, &pruning, out).await
            };
            told.await.map_err(Failure::untold)
        }
        Command::Validate { manifests } => apply::validate(&manifests, out),
        Command::Explain { field } => explain::explain(&field, out),
        Command::Plan { node, output, changes: false, files: _ } => {
            plan::plan(&mut connect()?, &node, output, out).await
        }
        Command::Plan { node, files, .. } if files.is_empty() => plan::pending(&mut connect()?, &node, out).await,
        Command::Plan { node, files, .. } => {
            let objects = load::load(&files)?;
            plan::changes(&mut connect()?, &node, objects, out).await
        }
        Command::Events { object, site, limit, follow, output } => {
            Events { object, site, limit, follow, output }.run(&mut connect()?, out).await
        }
        Command::Logs { node, follow, tail, output } => {
            Logs { node, tail, follow, output }.run(&mut connect()?, out).await
        }
        Command::Status { output } => status::status(&mut connect()?, output, out).await,
        Command::Wait { condition, timeout, all, objects } => {
            let wait = Wait::new(condition, timeout, all, &objects)?;
            wait.run(&mut connect()?, out).await
        }
        Command::Mode(command) => steer::mode(&mut connect()?, command, out).await,
        Command::Uplink(command) => steer::uplink(&mut connect()?, command, out).await,
        Command::Override(command) => steer::overrides(&mut connect()?, command, out).await,
        Command::ApiResources { output } => api_resources::api_resources(output, out),
        Command::Context { name } => context::context(name.as_deref(), out),
        Command::Completion { shell } => shell::completion(shell, out),
        Command::Manual { dir } => shell::manual(&dir, out),
        Command::Version => version(connection, out).await,
        Command::Csr { name, dir } => csr::csr(&name, &dir, out),
    }
}

fn connect(connection: Connection) -> Result<Client, Failure> {
    Ok(Client::new(&Settings::load(connection)?)?)
}

/// Our version, and the operator's if it is known where one is.
async fn version(connection: Connection, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "pathsteer {}", env!("CARGO_PKG_VERSION"))?;
    let Ok(settings) = Settings::load(connection) else { return Ok(()) };
    let answer: Value = Client::new(&settings)?.get("/v1/version").await?;
    let version = answer["version"].as_str().map_or_else(|| answer.to_string(), str::to_owned);
    writeln!(out, "pathsteer-operator {version} at {}", settings.server)?;
    Ok(())
}
