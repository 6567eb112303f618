//! A real etcd cluster that is not the operator's own: the etcd that the operator carries, without TLS, on loopback.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::rig::eventually;

const ETCD: &str = env!("PATHSTEER_ETCD");

/// Members that run until the cluster is dropped.
pub struct Cluster {
    data: TempDir,
    /// Client and peer URL of each.
    urls: Vec<(String, String)>,
    arguments: Vec<String>,
    members: Vec<Option<Child>>,
}

impl Cluster {
    /// So many members, each with these further arguments.
    pub fn start(members: usize, arguments: &[&str]) -> Cluster {
        // All sockets are open at once, so that the numbers differ.
        let sockets: Vec<_> = (0..2 * members).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let url = |socket: &TcpListener| format!("http://{}", socket.local_addr().unwrap());
        let urls = sockets.chunks(2).map(|pair| (url(&pair[0]), url(&pair[1]))).collect();
        drop(sockets);
        let mut cluster = Cluster {
            data: tempfile::tempdir().unwrap(),
            urls,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            members: Vec::new(),
        };
        for member in 0..members {
            cluster.members.push(None);
            cluster.begin(member);
        }
        cluster.answers();
        cluster
    }

    /// What an operator is given to find it.
    pub fn endpoints(&self) -> String {
        self.urls.iter().map(|(client, _)| client.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Starts a member that does not run, on its data.
    pub fn begin(&mut self, member: usize) {
        let (client, peer) = &self.urls[member];
        let names = self.urls.iter().enumerate().map(|(n, (_, peer))| format!("m{n}={peer}"));
        let child = Command::new(ETCD)
            .env_clear()
            .args([
                format!("--name=m{member}"),
                format!("--data-dir={}", self.data.path().join(format!("m{member}")).display()),
            ])
            .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
            .arg(format!("--initial-cluster={}", names.collect::<Vec<_>>().join(",")))
            .args(["--heartbeat-interval=50", "--election-timeout=500", "--log-level=error"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.members[member] = Some(child);
    }

    /// Kills a member.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].take() {
            kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until every member answers.
    pub fn answers(&self) {
        for (client, _) in &self.urls {
            eventually(&format!("{client} answers"), || {
                let output = etcdctl(client, &["endpoint", "health"]);
                if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
            });
        }
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        eventually("there is a leader", || {
            let is_leader = |client: &str| {
                let status = etcdctl(client, &["endpoint", "status", "-w", "json"]).stdout;
                let status: serde_json::Value = serde_json::from_slice(&status).unwrap_or_default();
                let status = &status[0]["Status"];
                status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
            };
            self.urls.iter().position(|(client, _)| is_leader(client)).ok_or(())
        })
    }

    /// Whatever etcdctl says, asked of the whole cluster.
    pub fn try_etcdctl(&self, arguments: &[&str]) -> Output {
        etcdctl(&self.endpoints(), arguments)
    }

    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = self.try_etcdctl(arguments);
        assert!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn etcdctl(endpoints: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoints, "--command-timeout=5s"]).args(arguments);
    command.output().unwrap()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in self.members.iter_mut().filter_map(Option::take) {
            let mut member = member;
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}
