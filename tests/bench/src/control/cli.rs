//! The command line as a person meets it: from its start to the first byte it prints, with an operator on the same machine.

use std::io::Read;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::clock;
use pathsteer_lab::host::Host;

use super::declared::{self, Object, Size};
use super::headquarters::Headquarters;
use crate::node::{Folders, leak};
use crate::report::{Row, Target};
use crate::series::{Discipline, interleave};

/// From the issue of native tools: milliseconds to the first output.
const FIRST: f64 = 30.0;
const ROUNDS: usize = 40;
/// A boat or two, and the fleet of a company.
const SIZE: Size = Size { sites: 50, policies: 20, segments: 0 };
const COMMANDS: [&[&str]; 5] =
    [&["get", "sites"], &["get", "uplinks"], &["status"], &["explain", "uplink.spec.cost"], &["--help"]];

/// # Errors
/// When the operator does not start, or a command prints nothing.
pub fn measure(folders: &Folders) -> Result<Vec<Row>> {
    let host = Host::new(leak("control-cli"))?;
    let operator = Headquarters::open(&host, folders)?;
    operator.store()?.put_all(declared::all(SIZE).iter().map(Object::entry))?;
    let person = folders.out.join("operator-control-cli/person");
    operator.certify("user", "person", &person)?;
    let file = |name: &str| person.join(name).display().to_string();
    let settings = [
        ("PATHSTEER_SERVER", Headquarters::url()),
        ("PATHSTEER_CA", operator.authority().display().to_string()),
        ("PATHSTEER_CERT", file("node.crt")),
        ("PATHSTEER_KEY", file("node.key")),
    ];
    let series = interleave(&COMMANDS, ROUNDS, Discipline::Timed, |words| {
        let mut command = host.command(folders.programs.join("pathsteer"));
        command.args(*words).envs(settings.iter().map(|(name, value)| (name, value))).stdout(Stdio::piped());
        let begin = clock::now();
        let mut child = command.spawn()?;
        let mut out = child.stdout.take().context("it was piped")?;
        out.read_exact(&mut [0])?;
        let first = clock::now();
        out.read_to_end(&mut Vec::new())?;
        ensure!(child.wait()?.success(), "pathsteer {} failed", words.join(" "));
        Ok(Some((first - begin).as_secs_f64() * 1e3))
    })?;
    let row = |(words, series): (&&[&str], _)| {
        Row::of(format!("`pathsteer {}` to its first output", words.join(" ")), "ms", series)
            .promised(Target::AtMost(FIRST))
    };
    Ok(COMMANDS.iter().zip(&series).map(row).collect())
}
