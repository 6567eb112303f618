//! One machine with everything on it: an operator, its store, and the real agent of a site. From the moment something is
//! put into the store, or applied, to the kernel's word that it has changed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::SockProtocol;
use pathsteer_crds::keys;
use pathsteer_crds::ownership::VIP_NETNS;
use pathsteer_crds::report::NodeReport;
use pathsteer_lab::clock;
use pathsteer_lab::daemon::Daemon;
use pathsteer_lab::host::Host;

use super::declared::{self, Object, Size, UPLINKS};
use super::folder::Folder;
use super::headquarters::Headquarters;
use super::store::Watch;
use crate::node::{CONFIG, Folders, leak, recipe};
use crate::reconcile::netlink::Socket;
use crate::report::{Row, Target};
use crate::rig::{Ends, cable};
use crate::series::{Discipline, Series, interleave};
use crate::statistics::quantile;

/// From the design: milliseconds from the put to the kernel, the median on one machine.
const PUT: f64 = 20.0;
const ROUNDS: usize = 250;
const DEADLINE: Duration = Duration::from_secs(60);
/// So long nothing is written when everything has been said about a change.
const QUIET: Duration = Duration::from_millis(100);
const SIZE: Size = Size { sites: 1, policies: 1, segments: 0 };

/// How something is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Put,
    Apply,
}

/// # Errors
/// When operator or agent do not start, or a change does not arrive.
pub fn measure(folders: &Folders) -> Result<Vec<Row>> {
    let host = Host::node(leak("control-n"))?;
    host.publish()?;
    let ends = cards(&host)?;
    let mut operator = Headquarters::open(&host, folders)?;
    let (store, user) = (operator.store()?, operator.user()?);
    let site = declared::site(0);
    let watch = store.watch(&keys::node(&site))?;
    store.put_all(declared::all(SIZE).iter().map(Object::entry))?;
    // on the disk where the operator's is, too
    let state = Folder::new(&folders.out.join(format!("agent-{site}")))?;
    let mut agent = start(&host, &operator, &site, state.path(), folders)?;
    in_force(&watch, &mut agent)?;
    let netns = host.namespace(VIP_NETNS)?;

    let mut version = 0;
    let series = interleave(&[Way::Put, Way::Apply], ROUNDS, Discipline::Timed, |way| {
        watch.rest(QUIET, clock::now() + DEADLINE)?;
        version += 1;
        let object = declared::segment(0, version);
        let (key, value) = object.entry();
        // a new one: the change before has said more than was waited for
        let addresses = Socket::subscribed(&netns, SockProtocol::NetlinkRoute, &[libc::RTNLGRP_IPV4_IFADDR])?;
        let list = serde_json::json!({"items": [object.json]}).to_string();
        let begin = clock::now();
        match way {
            Way::Put => drop(store.put(&key, &value)?),
            Way::Apply => drop(user.post("/v1/apply", list)?),
        }
        let said = clock::now();
        ensure!(!addresses.await_messages(begin + DEADLINE)?.is_empty(), "the address did not change");
        let changed = clock::now();
        operator.check()?;
        agent.check()?;
        Ok(Some([changed - begin, said - begin].map(|time| time.as_secs_f64() * 1e3)))
    })?;
    drop(ends);
    let [put, apply] = &series[..] else { bail!("two ways") };
    let mut rows = Vec::new();
    for (what, series) in [("put in etcd", put), ("applied", apply)] {
        let changed = series.map(|[changed, _]| *changed);
        let row = Row::of(format!("{what} to kernel changed, one node, p50"), "ms", &changed);
        rows.push(if what == "put in etcd" { row.promised(Target::AtMost(PUT)) } else { row });
        rows.push(Row {
            value: p99(&changed),
            ..Row::of(format!("{what} to kernel changed, one node, p99"), "ms", &changed)
        });
        rows.push(Row::of(format!("of it {what}, until that is answered"), "ms", &series.map(|[_, said]| *said)));
    }
    Ok(rows)
}

/// The value that 99 of a hundred runs stay at or below.
pub fn p99(series: &Series<f64>) -> Option<f64> {
    quantile(&series.valid().copied().collect::<Vec<_>>(), 0.99)
}

/// The cards that the site is declared to have, plugged into a host that does not answer.
fn cards(host: &Host) -> Result<Ends> {
    let ends = Ends::new("control")?;
    for card in (1..=UPLINKS).map(|slot| format!("wan{slot}")).chain(["lan0".to_owned()]) {
        let far = format!("far-{card}");
        cable(&ends.server, (host, &card), (&ends.server, &far))?;
        ends.server.ip(&format!("link set {far} up"))?;
    }
    Ok(ends)
}

/// The site's agent, which finds its operator on its own machine.
fn start(host: &Host, operator: &Headquarters, site: &str, state: &Path, folders: &Folders) -> Result<Daemon> {
    operator.certify("node", site, state)?;
    let config = format!(
        "node: {site}\noperator: {}\nca: {}\ncertificate: {}\nstateDir: {}\n",
        Headquarters::url(),
        operator.authority().display(),
        state.join("node.crt").display(),
        state.display()
    );
    host.write(CONFIG, &config)?;
    Daemon::start(host, recipe(host.name, folders), &folders.logs)
}

/// Waits until the site has reported that its plan is carried out.
fn in_force(watch: &Watch, agent: &mut Daemon) -> Result<()> {
    let done = watch.until("a report of the first plan", clock::now() + DEADLINE, |change| {
        let report = change.value.as_deref().and_then(|json| serde_json::from_str::<NodeReport>(json).ok());
        change.key.ends_with("/report/status") && report.is_some_and(|report| report.verified && report.generation > 0)
    });
    agent.check()?;
    done.map(drop).with_context(|| format!("the agent's log is {}", agent.log().display()))
}
