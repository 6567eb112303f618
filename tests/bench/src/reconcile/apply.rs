//! From nothing to everything there and seen to be there, beside others that make the same and do not look; a turn with
//! nothing to do; one object changed.

use std::cell::RefCell;

use anyhow::{Result, ensure};

use super::change::{nothing_to_do, one_change};
use super::objects::{NOUNS, objects};
use super::others::Others;
use super::served::{Served, Turn};
use crate::node::Folders;
use crate::report::{Row, Target};
use crate::series::{Discipline, Series, interleave_restoring};

/// Of every noun.
const COUNT: usize = 100;
const ROUNDS: usize = 20;
/// Messages in one system call where they are not sent one by one.
const AT_A_TIME: usize = 32;
/// From the design: a cold apply, verified, in raw netlink's time; a turn without a change, in milliseconds.
const COLD: f64 = 1.25;
pub const NOTHING: f64 = 10.0;
/// Objects in all, and rounds: what grows with them.
const SIZES: [(usize, usize); 2] = [(1_000, 5), (10_000, 3)];

/// What takes so long is never without a stall.
const LONG: Discipline = Discipline::Saturating;

/// Who makes the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// An acknowledgement is awaited before the next message.
    Netlink,
    Pipelined,
    Batch,
    Agent,
}

const MAKERS: [Maker; 4] = [Maker::Netlink, Maker::Pipelined, Maker::Batch, Maker::Agent];

impl Maker {
    fn name(self) -> String {
        match self {
            Maker::Netlink => "raw netlink, one at a time".to_owned(),
            Maker::Pipelined => format!("raw netlink, {AT_A_TIME} at a time"),
            Maker::Batch => "ip -batch".to_owned(),
            Maker::Agent => "agent, verified".to_owned(),
        }
    }
}

/// # Errors
/// When a rig cannot be made or does not get there.
pub fn measure(folders: &Folders) -> Result<Vec<Row>> {
    let rig = Rig::new("cold", folders)?;
    let what = format!("{COUNT} links + addresses + routes + rules");
    let Cold { makers, removal } = rig.cold(COUNT, ROUNDS, Discipline::Timed)?;
    let mut rows = compared(&format!("cold apply, {what}"), &makers);
    if let Some(last) = rows.pop() {
        rows.push(last.promised(Target::RatioAtMost(COLD)));
    }
    let agent = &makers[MAKERS.len() - 1];
    for (part, series) in [
        ("looking", agent.map(|turn| turn.observe)),
        ("changing", agent.map(|turn| turn.apply)),
        ("looking again", agent.map(|turn| turn.verify)),
    ] {
        rows.push(Row::of(format!("of it {part}"), "ms", &series));
    }
    rows.push(Row::of(format!("removal, {what}, agent, verified"), "ms", &removal));
    let agent = &mut *rig.agent.borrow_mut();
    let all = objects(COUNT);
    agent.carry_out(&all)?;
    let what = format!("{} objects", COUNT * NOUNS);
    let nothing =
        Row::of(format!("turn with nothing to do, {what}"), "ms", &nothing_to_do(agent, ROUNDS, Discipline::Timed)?);
    rows.push(nothing.promised(Target::AtMost(NOTHING)));
    rows.extend(one_change(agent, &what, &all, ROUNDS, Discipline::Timed)?);
    Ok(rows)
}

/// # Errors
/// When a rig cannot be made or does not get there.
pub fn growth(folders: &Folders) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (size, rounds) in SIZES {
        let (count, what) = (size / NOUNS, format!("{size} objects"));
        let rig = Rig::new(&format!("grow{size}"), folders)?;
        let Cold { makers, removal } = rig.cold(count, rounds, LONG)?;
        rows.extend(compared(&format!("cold apply, {what}"), &makers));
        let per_object = |series: &Series<f64>| series.map(|took| took * 1e3 / size as f64);
        for (maker, series) in MAKERS.iter().zip(&makers) {
            let series = per_object(&series.map(|turn| turn.took));
            rows.push(Row::of(format!("an object of {size}, cold apply, {}", maker.name()), "us", &series));
        }
        rows.push(Row::of(format!("removal, {what}, agent, verified"), "ms", &removal));
        let agent = &mut *rig.agent.borrow_mut();
        let all = objects(count);
        agent.carry_out(&all)?;
        let nothing = nothing_to_do(agent, rounds, LONG)?;
        rows.push(Row::of(format!("turn with nothing to do, {what}"), "ms", &nothing));
        rows.push(Row::of(format!("an object of {size}, turn with nothing to do"), "us", &per_object(&nothing)));
        rows.extend(one_change(agent, &what, &all, rounds, LONG)?);
    }
    Ok(rows)
}

/// A row for each maker, all beside raw netlink one at a time.
fn compared(what: &str, makers: &[Series<Turn>]) -> Vec<Row> {
    let took: Vec<Series<f64>> = makers.iter().map(|series| series.map(|turn| turn.took)).collect();
    let reference = format!("{what}, {}", Maker::Netlink.name());
    let row = |(maker, series): (&Maker, &Series<f64>)| {
        let row = Row::of(format!("{what}, {}", maker.name()), "ms", series);
        if *maker == Maker::Netlink { row } else { row.compared(series, &reference, &took[0]) }
    };
    MAKERS.iter().zip(&took).map(row).collect()
}

/// Who is compared.
struct Rig {
    agent: RefCell<Served>,
    others: RefCell<Others>,
}

/// What it came to.
struct Cold {
    /// By maker. Those that are not ours tell only how long they took.
    makers: Vec<Series<Turn>>,
    /// Of everything the agent has made, in milliseconds.
    removal: Series<f64>,
}

impl Rig {
    fn new(name: &str, folders: &Folders) -> Result<Rig> {
        let agent = Served::start(&format!("{name}-n"), &objects(0), folders)?;
        Ok(Rig { agent: RefCell::new(agent), others: RefCell::new(Others::new(name)?) })
    }

    /// Everyone in turn, each time from nothing but the two namespaces.
    fn cold(&self, count: usize, rounds: usize, discipline: Discipline) -> Result<Cold> {
        let (nothing, everything) = (objects(0), objects(count));
        let mut removal = Series::default();
        let make = |maker: &Maker| {
            let took = match maker {
                Maker::Netlink => self.others.borrow_mut().by_netlink(count, 1)?,
                Maker::Pipelined => self.others.borrow_mut().by_netlink(count, AT_A_TIME)?,
                Maker::Batch => self.others.borrow_mut().by_batch(count)?,
                Maker::Agent => {
                    let turn = self.agent.borrow_mut().carry_out(&everything)?;
                    ensure!(turn.changes == count * NOUNS, "not from nothing: {turn:?}");
                    return Ok(Some(turn));
                }
            };
            Ok(Some(Turn { took: took.as_secs_f64() * 1e3, ..Turn::default() }))
        };
        let undo = |maker: &Maker| {
            if *maker == Maker::Agent {
                removal.runs.push(Some(self.agent.borrow_mut().carry_out(&nothing)?.took));
                return Ok(());
            }
            self.others.borrow_mut().clear(count)
        };
        let makers = interleave_restoring(&MAKERS, rounds, discipline, make, undo)?;
        Ok(Cold { makers, removal })
    }
}
