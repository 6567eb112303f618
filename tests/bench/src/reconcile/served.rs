//! A running agent that gets its plans from a stand-in for the operator, and what it says of its turns.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::AddAssign;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pathsteer_crds::plan::PlanObjects;
use pathsteer_lab::clock;
use pathsteer_lab::daemon::Daemon;
use pathsteer_lab::host::Host;
use pathsteer_lab::netns::Namespace;

use super::objects::{NODE, events};
use super::operator::Operator;
use crate::node::{CONFIG, Folders, STATE, leak, recipe};

const OPERATOR: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7_443);
/// Ten thousand objects take a loaded machine many seconds.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often the log is looked at. Nothing is timed by it.
const LOOK: Duration = Duration::from_millis(10);

/// A turn, as the agent's log tells of it: its own clock, from waking up to knowing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Turn {
    pub generation: i64,
    pub changes: usize,
    pub verified: bool,
    /// All of it, in milliseconds: looking at the kernel, changing it, looking again, and what is in between.
    pub took: f64,
    pub observe: f64,
    pub apply: f64,
    pub verify: f64,
}

/// Turns of one plan as one.
impl AddAssign for Turn {
    fn add_assign(&mut self, next: Turn) {
        let Turn { generation, changes, verified, took, observe, apply, verify } = next;
        (self.generation, self.verified) = (generation, verified);
        self.changes += changes;
        self.took += took;
        self.observe += observe;
        self.apply += apply;
        self.verify += verify;
    }
}

/// Reads turns off an agent's log.
pub struct Turns {
    log: File,
    rest: String,
    /// Not yet handed out.
    left: Vec<Turn>,
}

impl Turns {
    /// From the end of `daemon`'s log on.
    ///
    /// # Errors
    /// When it has none.
    pub fn of(daemon: &Daemon) -> Result<Turns> {
        let mut log = File::open(daemon.log()).with_context(|| format!("the log of {}", daemon.name()))?;
        log.seek(SeekFrom::End(0))?;
        Ok(Turns { log, rest: String::new(), left: Vec::new() })
    }

    /// The turns that have ended since this was last asked.
    ///
    /// # Errors
    /// The disk.
    pub fn ended(&mut self) -> Result<Vec<Turn>> {
        self.log.read_to_string(&mut self.rest)?;
        let whole = self.rest.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.rest.split_off(whole);
        let lines = std::mem::replace(&mut self.rest, rest);
        let mut turns = std::mem::take(&mut self.left);
        turns.extend(lines.lines().filter_map(turn));
        Ok(turns)
    }

    /// Waits for a turn that `wanted` accepts.
    ///
    /// # Errors
    /// When there is none in time, or the agent has ended.
    pub fn wait(&mut self, daemon: &mut Daemon, what: &str, wanted: impl Fn(&Turn) -> bool) -> Result<Turn> {
        let deadline = clock::now() + clock::patience(DEADLINE);
        loop {
            let mut ended = self.ended()?;
            if let Some(at) = ended.iter().position(&wanted) {
                self.left = ended.split_off(at + 1);
                return Ok(ended[at]);
            }
            daemon.check()?;
            if clock::now() > deadline {
                bail!("no turn {what}; the log ends: {}", daemon.last_lines(10).join("\n"));
            }
            clock::sleep_until(clock::now() + LOOK);
        }
    }
}

/// What a line of the log tells, if it is about a turn.
fn turn(line: &str) -> Option<Turn> {
    let words = line.split_once(": turn ")?.1;
    let find = |key: &str| words.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let milliseconds = |key: &str| Some(find(key)?.parse::<f64>().ok()? / 1_000.0);
    Some(Turn {
        generation: find("generation")?.parse().ok()?,
        changes: find("changes")?.parse().ok()?,
        verified: find("verified")? == "true",
        took: milliseconds("took_us")?,
        observe: milliseconds("observe")?,
        apply: milliseconds("apply")?,
        verify: milliseconds("verify")?,
    })
}

/// A node and its operator.
pub struct Served {
    pub host: Host,
    pub agent: Daemon,
    pub turns: Turns,
    operator: Operator,
    generation: i64,
}

impl Served {
    /// A node called `name` whose first plan is `first`; it is in force when this returns.
    ///
    /// # Errors
    /// When the agent does not get there.
    pub fn start(name: &str, first: &PlanObjects, folders: &Folders) -> Result<Served> {
        let host = Host::node(leak(name))?;
        host.publish()?;
        let (address, port) = OPERATOR;
        let certified = rcgen::generate_simple_self_signed([NODE.to_owned(), address.to_string()])?;
        let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
        host.write(&format!("{STATE}/node.key"), &key)?;
        host.write("/etc/pathsteer/node.crt", &certificate)?;
        host.write(
            CONFIG,
            &format!(
                "node: {NODE}\noperator: https://{address}:{port}\nca: /etc/pathsteer/node.crt\n\
                 certificate: /etc/pathsteer/node.crt\nsegmentation: always\n"
            ),
        )?;
        let events = events(first, 1)?;
        let operator = Operator::listen(&host, SocketAddr::from(OPERATOR), (&certificate, &key), events)?;
        let mut agent = Daemon::start(&host, recipe(host.name, folders), &folders.logs)?;
        let mut turns = Turns::of(&agent)?;
        turns.wait(&mut agent, "in force", |turn| turn.generation == 1 && turn.verified)?;
        Ok(Served { host, agent, turns, operator, generation: 1 })
    }

    /// Sends `objects` as the next plan, and returns the turn that carried it out once that is known.
    ///
    /// # Errors
    /// When the agent does not get there.
    pub fn carry_out(&mut self, objects: &PlanObjects) -> Result<Turn> {
        self.send(objects)?;
        let generation = self.generation;
        let what = format!("that carries on with generation {generation}");
        let mut all = Turn { generation, ..Turn::default() };
        while !all.verified {
            // thousands of links are seldom at rest at once: while they are not, the agent looks again
            all += self.turns.wait(&mut self.agent, &what, |turn| turn.generation == generation)?;
        }
        Ok(all)
    }

    /// Sends `objects` as the next plan.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn send(&mut self, objects: &PlanObjects) -> Result<()> {
        self.generation += 1;
        self.operator.send(&events(objects, self.generation)?)
    }

    /// The node's namespace called `name`.
    ///
    /// # Errors
    /// When it has none.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        self.host.namespace(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_read_off_a_line_of_the_log() {
        let line = "2026-11-29T21:00:00.000001Z DEBUG pathsteer_agent::reconcile: turn generation=7 changes=3 \
                    verified=true took_us=1500 observe=500 apply=250 verify=125";
        let read = turn(line).unwrap();
        assert_eq!((read.generation, read.changes, read.verified), (7, 3, true));
        assert_eq!((read.took, read.observe, read.apply, read.verify), (1.5, 0.5, 0.25, 0.125));
        assert_eq!(turn("2026-11-29T21:00:00Z  INFO pathsteer_agent::reconcile: in sync generation=7"), None);
    }
}
