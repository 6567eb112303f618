//! A Wi-Fi card as an uplink: a radio of the kernel's own simulator, moved as a whole, on which a real wpa_supplicant logs in
//! to a real hostapd on another one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pathsteer_lab::daemon::{Daemon, Recipe};
use pathsteer_lab::host::Host;

use crate::dump;
use crate::node::{Isp, Node, links};
use crate::tools::Tools;

const LOGS: &str = "/run/logs";
/// The simulator's first card. Its second is the access point's.
const MAC: &str = "02:00:00:00:00:00";
const HOSTAPD: &str = "interface=wlan1
driver=nl80211
ssid=pathsteer
hw_mode=g
channel=1
wpa=2
wpa_key_mgmt=WPA-PSK
rsn_pairwise=CCMP
wpa_passphrase=nothing-but-a-test
";
/// 2,412 MHz is channel 1.
const SUPPLICANT: &str = "network={
ssid=\"pathsteer\"
psk=\"nothing-but-a-test\"
key_mgmt=WPA-PSK
scan_freq=2412
}
";

/// Plays it; how long it took is printed.
///
/// # Errors
/// When the uplink has no address by its radio, or the radio does not come home as it was.
pub fn play() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this was built in no folder")?;
    let tools = Tools::fetch(&root.join("target/vm"))?;
    let loaded = Command::new("modprobe").args(["mac80211_hwsim", "radios=2"]).status()?;
    ensure!(loaded.success(), "this kernel has no simulated radios");
    fs::create_dir_all(LOGS)?;
    let host = Host::own("machine")?;
    let iw = |words: &[&str]| {
        let recipe = tools.wifi("sbin/iw", words);
        let arguments: Vec<&str> = recipe.arguments.iter().map(String::as_str).collect();
        host.output(&recipe.program, &arguments)
    };

    let mut isp = Isp::new("access-point", 1)?;
    iw(&["phy", &radio_of("wlan1")?, "set", "netns", &isp.pid().to_string()])?;
    fs::write("/run/hostapd.conf", HOSTAPD)?;
    let point = Daemon::start(&isp.host, tools.wifi("usr/sbin/hostapd", &["/run/hostapd.conf"]), Path::new(LOGS))?;
    isp.serve("wlan1")?;

    // A second interface of the same radio, and settings that it all has to have again in the end.
    let radio = radio_of("wlan0")?;
    iw(&["phy", &radio, "interface", "add", "wlan0b", "type", "managed"])?;
    host.ip("link set wlan0 alias the-antenna\nlink set wlan0 up")?;
    let settings = ["net.ipv4.conf.wlan0.arp_ignore=1", "net.ipv4.conf.wlan0b.arp_ignore=2"];
    host.output("sysctl", &[&["-qw"], &settings[..]].concat())?;
    let before = at_home(&host)?;

    let mut node = Node::start(&uplink(&format!("mac:{MAC}"), "movePhy"))?;
    node.wait("the radio is taken, and renamed", |node| {
        let inside = links(&node.host, "psup1").unwrap_or_default();
        Ok(inside.iter().any(|name| name == "psn1") && inside.iter().any(|name| name == "wlan0b"))
    })?;
    fs::write("/run/supplicant.conf", SUPPLICANT)?;
    let words = ["-i", "psn1", "-D", "nl80211", "-c", "/run/supplicant.conf"];
    let Recipe { name, program, arguments } = tools.wifi("sbin/wpa_supplicant", &words);
    let inside = ["netns", "exec", "psup1", &program.to_string_lossy()].map(str::to_owned);
    let supplicant = Recipe { name, program: "ip".into(), arguments: [inside.to_vec(), arguments].concat() };
    let supplicant = Daemon::start(&node.host, supplicant, Path::new(LOGS))?;
    let leased = node.wait_for_lease(1, &isp).with_context(|| {
        format!("hostapd: {:?}\nwpa_supplicant: {:?}", point.last_lines(20), supplicant.last_lines(20))
    })?;
    let said = supplicant.last_lines(usize::MAX).join("\n");
    ensure!(said.contains("CTRL-EVENT-CONNECTED") && said.contains("WPA: Key negotiation completed"), "{said}");
    println!(
        "vm: logged in with WPA2 and leased an address {:.1} s after wpa_supplicant's start",
        leased.as_secs_f64()
    );
    let answered = node.host.output("ip", &["netns", "exec", "psup1", "ping", "-c", "3", "-W", "5", &isp.gateway()])?;
    ensure!(answered.contains(" 0% packet loss"), "{answered}");
    // The other interface is nobody's: nothing is done to it, turn after turn.
    node.settle()?;
    drop(supplicant);
    node.end()?;
    let after = at_home(&host)?;
    ensure!(before == after, "it did not come home as it was:\n{}", dump::difference(&before, &after));
    println!("vm: teardown: {}", after.lines().collect::<Vec<_>>().join(", "));

    // Found by its name, it keeps that; and as an ordinary card it is refused in words.
    let mut node = Node::start(&uplink("wlan0", "movePhy"))?;
    node.wait("the radio is taken under its name", |node| {
        Ok(links(&node.host, "psup1").unwrap_or_default().iter().any(|name| name == "wlan0"))
    })?;
    node.end()?;
    let after = at_home(&host)?;
    ensure!(before == after, "it did not come home as it was:\n{}", dump::difference(&before, &after));
    let mut node = Node::start(&uplink("wlan0", "move"))?;
    node.wait("told to move the radio", |node| Ok(node.said("declare the uplink with `attach: movePhy`") > 0))?;
    node.end()
}

fn uplink(interface: &str, attach: &str) -> String {
    format!(
        "apiVersion: pathsteer.io/v1alpha1\nkind: Uplink\nmetadata: {{site: rv-07, name: fiber}}\n\
         spec: {{slot: 1, kind: wifi, interface: \"{interface}\", attach: {attach}, address: dhcp, cost: 10}}\n"
    )
}

/// What the radio of a card is called.
fn radio_of(card: &str) -> Result<String> {
    let name = fs::read_to_string(Path::new("/sys/class/net").join(card).join("phy80211/name"))?;
    Ok(name.trim().to_owned())
}

/// The radio's interfaces in the machine's own namespace, and what is set on them.
fn at_home(host: &Host) -> Result<String> {
    let mut all = String::new();
    for name in ["wlan0", "wlan0b"] {
        let link = dump::ip(host, "", &format!("-d link show {name}"))?;
        let up = link[0]["flags"].to_string().contains("\"UP\"");
        let setting = host.output("sysctl", &[&format!("net.ipv4.conf.{name}.arp_ignore")])?;
        all += &format!("{name} alias {} up {up} {setting}", link[0]["ifalias"]);
    }
    Ok(all)
}
