//! A running operator with its own data folder.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Client, Identity};

/// How long anything may take. Generous: the machine may be busy with other tests.
const DEADLINE: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_pathsteer-operator");

/// An operator that runs until the rig is dropped.
pub struct Rig {
    pub data: TempDir,
    pub address: SocketAddr,
    child: Child,
}

impl Rig {
    pub fn start() -> Rig {
        Rig::with(&[])
    }

    /// With further arguments of `run`.
    pub fn with(arguments: &[&str]) -> Rig {
        let data = tempfile::tempdir().unwrap();
        let (child, address) = spawn(&data, arguments);
        Rig { data, address, child }
    }

    /// On a data folder that is there already.
    pub fn on(data: TempDir) -> Rig {
        let (child, address) = spawn(&data, &[]);
        Rig { data, address, child }
    }

    /// Ends the operator with `signal` and starts it again on the same data.
    pub fn restart(&mut self, signal: Signal) {
        self.end(signal);
        self.restart_ended();
    }

    /// Starts the operator again on the same data.
    pub fn restart_ended(&mut self) {
        (self.child, self.address) = spawn(&self.data, &[]);
    }

    /// Ends the operator and waits for it.
    pub fn end(&mut self, signal: Signal) -> std::process::ExitStatus {
        kill(self.pid(), signal).unwrap();
        self.child.wait().unwrap()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Children of the operator: its etcd, if that runs.
    pub fn etcd_pid(&self) -> Option<Pid> {
        // The thread that spawned it is the parent, so every thread's list is looked at.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
        children
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .next()
            .map(Pid::from_raw)
    }

    /// A certificate for `name`, issued by the program itself.
    pub fn identity(&self, party: &str, name: &str) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let csr = self.path(&format!("{name}.csr"));
        std::fs::write(&csr, request).unwrap();
        let issued = command(&self.data)
            .args(["issue", party, name, "--csr"])
            .arg(csr)
            .arg("--data-dir")
            .arg(self.data.path())
            .output()
            .unwrap();
        assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
        Identity {
            certificate: String::from_utf8(issued.stdout).unwrap(),
            key: key.serialize_pem(),
            ca: std::fs::read_to_string(self.path("pki/ca.crt")).unwrap(),
        }
    }

    /// A user's client.
    pub fn user(&self) -> Client {
        self.user_named("kim")
    }

    /// A client of another user's: two threads do not ask for certificates by one file.
    pub fn user_named(&self, name: &str) -> Client {
        Client::new(self.address, &self.identity("user", name))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// Runs the program with other arguments.
    pub fn run(&self, arguments: &[&str]) -> Output {
        command(&self.data).args(arguments).output().unwrap()
    }

    /// Runs etcdctl as a person would: with the exports the operator prints.
    pub fn try_etcdctl(&self, arguments: &[&str]) -> Output {
        let line = format!(
            "eval \"$('{PROGRAM}' etcdctl-env --data-dir '{}')\" && exec etcdctl \"$@\"",
            self.data.path().display()
        );
        Command::new("sh").args(["-c", &line, "sh"]).args(arguments).output().unwrap()
    }

    /// The same, which must succeed.
    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = self.try_etcdctl(arguments);
        assert!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.end(Signal::SIGTERM);
        }
    }
}

fn command(data: &TempDir) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(data.path()).env("RUST_LOG", "info,pathsteer_operator=debug");
    command
}

fn spawn(data: &TempDir, arguments: &[&str]) -> (Child, SocketAddr) {
    let mut child = command(data)
        .args(["run", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let address =
            line.split_once("operator runs address=").map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
        seen.push(line);
        address
    });
    let address = address.unwrap_or_else(|| panic!("the operator did not start:\n{}", seen.join("\n")));
    // Read on, or the operator would block; shown when the test fails.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
    (child, address)
}

/// Waits until `look` finds something; says `what` was waited for, and what was seen last, if it never does.
pub fn eventually<T, S: std::fmt::Debug>(what: &str, look: impl FnMut() -> Result<T, S>) -> T {
    eventually_within(DEADLINE, what, look)
}

/// The same for what takes longer.
pub fn eventually_within<T, S: std::fmt::Debug>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, S>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => panic!("waited in vain until {what}; last seen: {seen:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The condition `kind` of an object, once `status` speaks of its newest version.
pub fn condition(object: &Value, kind: &str) -> Option<(String, String, String)> {
    let status = &object["status"];
    if status["observedGeneration"] != object["metadata"]["resourceVersion"] {
        return None;
    }
    let found = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}
