//! wireguard-go at one side, configured with wg: Debian's packages `wireguard-go` and `wireguard-tools`.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::net::{PORT, Side, ip, visit, wait};

/// A wireguard-go with its TUN and its socket in the side's underlay namespace.
pub struct WireguardGo {
    netns: String,
    link: String,
    process: Child,
}

impl WireguardGo {
    /// Is `side`, with its key and address, and has `peer` for a peer that it waits for.
    pub fn start(side: &Side, peer: &Side) -> WireguardGo {
        let netns = side.underlay.clone();
        // Its control socket is a file named after the link, whatever the namespace.
        let link = format!("wgt{}", std::process::id());
        let process = Command::new("ip")
            .args(["netns", "exec", &netns, "wireguard-go", "-f", &link])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let go = WireguardGo { netns, link, process };
        let link = &go.link;
        wait("wireguard-go", Duration::from_secs(5), || {
            visit(&go.netns, || if_nametoindex(&**link).is_ok()) && go.wg(&["show", link]).is_some()
        });
        let (port, key_path, allowed_ip) = (PORT.to_string(), side.key_path(), format!("{}/32", peer.address));
        let interface = ["set", link, "listen-port", &port, "private-key", key_path.to_str().unwrap()];
        let peer = ["peer", &peer.public_key, "allowed-ips", &allowed_ip];
        go.wg(&[&interface[..], &peer[..]].concat()).expect("wg set");
        ip(&format!("-n {} address add {}/24 dev {link}", go.netns, side.address));
        ip(&format!("-n {} link set {link} mtu 1420 up", go.netns));
        go
    }

    pub fn endpoint_of(&self, peer: &Side) -> String {
        let endpoints = self.wg(&["show", &self.link, "endpoints"]).expect("wg show");
        let line = endpoints.lines().find_map(|line| line.strip_prefix(&peer.public_key));
        line.expect("the peer").trim().to_owned()
    }

    fn wg(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("ip").args(["netns", "exec", &self.netns, "wg"]).args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for WireguardGo {
    fn drop(&mut self) {
        // `ip netns exec` has become wireguard-go; asked to, it removes its socket.
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
        let _ = self.process.wait();
    }
}
