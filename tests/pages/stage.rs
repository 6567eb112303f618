//! What the examples of a page meet: an operator of their own with `examples/rv` applied, its two nodes, simulated, and a
//! person's settings.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::root;

/// The nodes of `examples/rv`.
const NODES: [&str; 2] = ["dal-a", "rv-07"];

/// An operator and nodes that run until the page ends.
pub struct Stage {
    folder: PathBuf,
    operator: Child,
    nodes: Option<Child>,
}

/// A program of ours, built beside this one.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().and_then(|deps| deps.parent()).unwrap_or(&own).join(name)
}

impl Stage {
    pub fn start() -> io::Result<Stage> {
        let folder = folder()?;
        let data = folder.join("operator");
        let mut operator = Command::new(program("pathsteer-operator"))
            .args(["run", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(operator.stderr.take().expect("it was piped")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let rest = line.split_once("operator runs address=")?.1;
            Some(rest.split(' ').next()?.to_owned())
        });
        // Read on, or the operator would block.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let mut stage = Stage { folder, operator, nodes: None };
        let address = address.ok_or_else(|| io::Error::other("the operator did not start"))?;
        stage.settle(&address)?;
        stage.simulate(&address)?;
        Ok(stage)
    }

    /// Makes alice a user with settings of her own, and applies the example.
    fn settle(&self, address: &str) -> io::Result<()> {
        let config = self.folder.join("home/.config/pathsteer");
        fs::create_dir_all(&config)?;
        let text = format!(
            "current: van\nca: ca.crt\ncert: alice.crt\nkey: alice.key\ncontexts:\n  van: {{server: \"https://{address}\"}}\n  \
             depot: {{server: \"https://operator.example.net:7443\"}}\n"
        );
        fs::write(config.join("config.yaml"), text)?;
        fs::copy(self.folder.join("operator/pki/ca.crt"), config.join("ca.crt"))?;
        let made = format!(
            "cd '{}' && pathsteer csr alice && \
             pathsteer-operator issue user alice --csr alice.csr --out alice.crt --data-dir '{}'",
            config.display(),
            self.folder.join("operator").display()
        );
        self.must(&made)?;
        self.must("pathsteer apply -f examples/rv/")
    }

    /// Starts the nodes, and waits until they carry everything out.
    fn simulate(&mut self, address: &str) -> io::Result<()> {
        let (nodes, operator) = (self.folder.join("nodes"), self.folder.join("operator"));
        for node in NODES {
            let (own, data) = (nodes.join(node), operator.display());
            fs::create_dir_all(&own)?;
            let own = own.display();
            self.must(&format!(
                "cd '{own}' && pathsteer-agent csr --node {node} --state-dir . --out node.csr && \
                 pathsteer-operator issue node {node} --csr node.csr --out node.crt --data-dir '{data}'"
            ))?;
        }
        let mut simulate = Command::new(program("pathsteer-agent"));
        simulate
            .args(["simulate", "--operator", &format!("https://{address}"), "--ca"])
            .arg(operator.join("pki/ca.crt"));
        simulate.arg("--credentials").arg(nodes).stdout(Stdio::null()).stderr(Stdio::null());
        self.nodes = Some(simulate.spawn()?);
        self.must("pathsteer wait --all")
    }

    fn must(&self, command: &str) -> io::Result<()> {
        let output = self.run(command)?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{command}: {}", String::from_utf8_lossy(&output.stderr))))
    }

    /// By a shell, as a person would: in the folder of the project, with our programs on the path.
    pub fn run(&self, command: &str) -> io::Result<Output> {
        self.shell(command).stdin(Stdio::null()).output()
    }

    /// The same, not started yet.
    pub fn shell(&self, command: &str) -> Command {
        let programs = program("pathsteer");
        let programs = programs.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(root()).env_clear();
        shell
            .env("PATH", format!("{programs}:/usr/bin:/bin:/usr/sbin:/sbin"))
            .env("HOME", self.folder.join("home"))
            .env("TMPDIR", &self.folder)
            .env("DATA", self.folder.join("operator"));
        shell
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(nodes) = &mut self.nodes {
            drop(nodes.kill());
            drop(nodes.wait());
        }
        // It ends its etcd with it; nobody is there to hear of a failure.
        let _ = kill(Pid::from_raw(self.operator.id().cast_signed()), Signal::SIGTERM);
        drop(self.operator.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// A fresh folder.
fn folder() -> io::Result<PathBuf> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("pathsteer-pages-{}-{number}", std::process::id()));
    fs::create_dir(&folder)?;
    Ok(folder)
}
