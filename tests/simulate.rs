//! Simulated nodes against the real operator, without root: each carries out its plan in a kernel of its own and says so.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathsteer_crds::{Kind, keys};
use pathsteer_lab::clock;
use serde_json::{Value, json};

const SITES: usize = 19;
const ANCHOR: &str = "anchor";
/// Twenty nodes take a second or two; the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

#[test]
fn twenty_nodes_carry_out_their_plans_and_a_change_of_one_is_carried_out_by_that_one() -> Result<()> {
    let operator = Operator::start()?;
    for (key, value) in declared() {
        operator.put(&key, &value)?;
    }
    let names: Vec<_> = (0..SITES).map(site).chain([ANCHOR.to_owned()]).collect();
    let mut nodes = operator.simulate(&names)?;
    let all_ready = |nodes: &mut Process| {
        clock::wait_for("every node is ready", PATIENCE, LOOK, || {
            ensure!(nodes.0.try_wait()?.is_none(), "the simulation has ended");
            Ok(names.iter().all(|name| operator.is_ready(name)))
        })
    };
    all_ready(&mut nodes)?;
    let report = operator.value(&keys::report(&site(3)))?;
    ensure!(report["verified"] == true && report["lastChanges"]["failed"] == 0, "{report}");
    let tunnels = report["tunnels"].as_array().map_or(0, Vec::len);
    ensure!(tunnels == 2, "one for each uplink: {report}");

    let roots = || names.iter().map(|name| operator.value(&keys::plan_root(name))).collect::<Result<Vec<_>>>();
    let before = roots()?;
    let (key, value) = segment(3, &["172.16.3.1/24", "172.16.3.2/24"]);
    operator.put(&key, &value)?;
    clock::wait_for("the site has another address", PATIENCE, LOOK, || {
        let report = operator.value(&keys::report(&site(3)))?;
        Ok(report["lastChanges"]["objects"].to_string().contains("172.16.3.2/24") && report["verified"] == true)
    })?;
    let changed = names.iter().zip(before.iter().zip(roots()?)).filter(|(_, (before, after))| *before != after);
    let changed: Vec<_> = changed.map(|(name, _)| name).collect();
    ensure!(changed == [&site(3)], "other nodes have other plans, too: {changed:?}");
    all_ready(&mut nodes)
}

fn site(number: usize) -> String {
    format!("site-{number:02}")
}

fn object(kind: Kind, key: &str, spec: Value) -> (String, String) {
    let metadata = match key.split_once('/') {
        Some((site, name)) => json!({"site": site, "name": name}),
        None => json!({"name": key}),
    };
    let object = json!({"apiVersion": "pathsteer.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    (keys::spec(kind, key), object.to_string())
}

fn segment(number: usize, addresses: &[&str]) -> (String, String) {
    object(Kind::Vlan, &format!("{}/lan", site(number)), json!({"interface": "lan0", "addresses": addresses}))
}

/// An anchor, and sites with two uplinks each.
fn declared() -> Vec<(String, String)> {
    let anchor = json!({
        "endpoints": [{"address": "203.0.113.10"}],
        "internet": {"interface": "inet0", "addresses": ["198.51.100.1/24"]},
    });
    let mut all = vec![
        object(Kind::Fabric, "default", json!({"overlay": "10.100.0.0/16"})),
        object(Kind::Anchor, ANCHOR, anchor),
    ];
    for number in 0..SITES {
        let name = site(number);
        let prefix = format!("172.16.{number}.0/24");
        all.push(object(Kind::Site, &name, json!({"anchors": [ANCHOR], "prefixes": [prefix]})));
        all.push(segment(number, &[&prefix.replace(".0/24", ".1/24")]));
        for slot in 1..=2 {
            let addresses = [format!("192.0.2.{}/30", 4 * slot + 1)];
            let address =
                json!({"static": {"addresses": addresses, "gateways": [format!("192.0.2.{}", 4 * slot + 2)]}});
            let spec = json!({"slot": slot, "kind": "fiber", "interface": format!("wan{slot}"), "address": address});
            all.push(object(Kind::Uplink, &format!("{name}/wan{slot}"), spec));
        }
    }
    all
}

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // the operator ends its etcd if it is asked to end
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// A running operator with its own folder.
struct Operator {
    // first: it must have ended when its folder goes
    _process: Process,
    data: tempfile::TempDir,
    address: String,
}

impl Operator {
    fn start() -> Result<Operator> {
        let data = tempfile::tempdir()?;
        let mut command = Command::new(program("pathsteer-operator")?);
        command.args(["run", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        let mut process = Process(command.stderr(Stdio::piped()).spawn()?);
        let mut lines = BufReader::new(process.0.stderr.take().context("its log")?).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("operator runs address=")?;
            rest.split(' ').next().map(str::to_owned)
        });
        let address = address.context("the operator does not run")?;
        // read on, or the operator would block; shown when the test fails
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
        Ok(Operator { _process: process, data, address })
    }

    /// Certifies nodes of these names and lets them live.
    fn simulate(&self, names: &[String]) -> Result<Process> {
        let folder = self.data.path().join("nodes");
        for name in names {
            let own = folder.join(name);
            std::fs::create_dir_all(&own)?;
            let (csr, certificate) = (own.join("node.csr"), own.join("node.crt"));
            let agent = program("pathsteer-agent")?;
            run(Command::new(agent).args(["csr", "--node", name, "--state-dir"]).arg(&own).arg("--out").arg(&csr))?;
            let mut issue = Command::new(program("pathsteer-operator")?);
            issue.args(["issue", "node", name, "--csr"]).arg(&csr).arg("--out").arg(&certificate);
            run(issue.arg("--data-dir").arg(self.data.path()))?;
        }
        let mut simulate = Command::new(program("pathsteer-agent")?);
        simulate.args(["simulate", "--nodes", &names.len().to_string(), "--operator"]);
        simulate.arg(format!("https://{}", self.address)).arg("--ca").arg(self.data.path().join("pki/ca.crt"));
        Ok(Process(simulate.arg("--credentials").arg(folder).env("RUST_LOG", "warn").spawn()?))
    }

    /// Runs Debian's etcdctl with the exports that the operator prints.
    fn etcdctl(&self, arguments: &[&str]) -> Result<String> {
        let script = "exports=$(\"$0\" etcdctl-env --data-dir \"$1\") && eval \"$exports\" && shift && etcdctl \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(program("pathsteer-operator")?).arg(self.data.path()).args(arguments);
        run(&mut command)
    }

    fn put(&self, key: &str, value: &str) -> Result<()> {
        self.etcdctl(&["put", key, value]).map(drop)
    }

    fn value(&self, key: &str) -> Result<Value> {
        let text = self.etcdctl(&["get", "--print-value-only", key])?;
        serde_json::from_str(&text).with_context(|| format!("{key}: {text}"))
    }

    fn is_ready(&self, node: &str) -> bool {
        let kind = if node == ANCHOR { Kind::Anchor } else { Kind::Site };
        let status = self.value(&keys::status(kind, node)).unwrap_or_default();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// All programs are built into one folder; those of tests lie below it.
fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().and_then(Path::parent).context("this program is in no folder")?.join(name);
    ensure!(path.exists(), "{} is missing: build everything with `cargo build --workspace`", path.display());
    Ok(path)
}
