//! A lab that stays: started in the background, entered by hand, ended by one command.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::fleet::{CLI_CONFIG, Fleet};
use crate::host::{MOUNTS_FOLDER, NETNS_FOLDER};
use crate::network::Network;
use crate::network::plan::{DISH, HQ, Plan, SWITCHES, WAN, WEB};
use crate::progress::Progress;
use crate::sandbox::{self, Lifetime};
use crate::{clock, control, demo};

/// On the machine itself: what is needed to find a running lab again.
const STATE_FOLDER: &str = "/run/pathsteer-lab";
/// How a lab says that it is ready, on the last line of what it prints.
const READY: &str = "lab: ready";
/// First argument of the process that goes into a host.
pub const ENTER: &str = "lab-enter";
/// The kernel ends the processes of a lab at once; a large one takes some milliseconds.
const END_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// The lab's init.
    pid: i32,
    /// Whether it is the network of many sites.
    many: bool,
    /// Where its logs are.
    out: PathBuf,
}

/// Starts a lab in the background and waits until it is ready.
///
/// # Errors
/// When one runs already, or it does not come up.
pub fn up(arguments: &[OsString], many: bool, out: &Path) -> Result<()> {
    if let Some(state) = running()? {
        bail!("a lab is running (process {}): end it with `make lab-down`", state.pid);
    }
    fs::create_dir_all(STATE_FOLDER)?;
    fs::create_dir_all(out)?;
    let errors = fs::File::create(out.join("lab.log"))?;
    let mut init = sandbox::start(arguments, Lifetime::Detached, |command| {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
    })?;
    let state = State { pid: init.id().try_into()?, many, out: fs::canonicalize(out)? };
    fs::write(state_file(), serde_json::to_string_pretty(&state)?)?;
    let lines = BufReader::new(init.stdout.take().context("the lab's output is a pipe")?).lines();
    for line in lines {
        let line = line?;
        if line == READY {
            print!("{}", hints(Plan::choose(many)));
            return Ok(());
        }
        println!("{line}");
    }
    init.wait()?;
    fs::remove_dir_all(STATE_FOLDER)?;
    bail!("the lab did not come up: {}", fs::read_to_string(out.join("lab.log"))?.trim())
}

/// The lab's own life, inside the sandbox: builds everything, then takes orders until it is ended.
///
/// # Errors
/// When something does not come up.
pub fn live(plan: &'static Plan, out: &Path, examples: &Path, progress: &Progress) -> Result<()> {
    let logs = crate::tree::logs(out)?;
    progress.say("sites with their uplinks, anchors and the internet behind them are wired up");
    let network = Network::build(plan, &logs)?;
    progress.say("the operator starts, keys are made and certified, the agents start");
    let mut fleet = Fleet::start(&network, &logs)?;
    demo::declare(&mut fleet, examples, progress)?;
    println!("{READY}");
    std::io::stdout().flush()?;
    // Nobody reads on: later output must not end this process by a broken pipe.
    let nowhere = fs::File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(nowhere)?;
    control::serve(&network)
}

/// Ends the lab and waits until it is gone.
///
/// # Errors
/// When it does not end.
pub fn down() -> Result<()> {
    let Some(state) = running()? else {
        // One that ended by itself leaves its state file.
        let _ = fs::remove_dir_all(STATE_FOLDER);
        println!("lab: none is running");
        return Ok(());
    };
    kill(Pid::from_raw(state.pid), Signal::SIGKILL)?;
    let gone = clock::wait_until(clock::now() + END_DEADLINE, Duration::from_millis(10), || ended(state.pid));
    if !gone {
        bail!("the lab (process {}) does not end", state.pid);
    }
    fs::remove_dir_all(STATE_FOLDER)?;
    println!("lab: ended, nothing is left");
    Ok(())
}

/// Says whether a lab runs, and what its lines do.
///
/// # Errors
/// When a running lab does not answer.
pub fn status() -> Result<()> {
    match running()? {
        None => println!("lab: none is running; start one with `make lab`"),
        Some(state) => {
            println!("lab: running (process {}), logs in {}/logs\n", state.pid, state.out.display());
            print!("{}\n{}", order(&control::Order::Show)?, hints(Plan::choose(state.many)));
        }
    }
    Ok(())
}

/// Sends an order to the running lab.
///
/// # Errors
/// When none runs, or it refuses.
pub fn order(order: &control::Order) -> Result<String> {
    let state = required()?;
    control::send(Path::new(&format!("/proc/{}/root{}", state.pid, control::SOCKET)), order)
}

/// Runs `words`, or a shell, in `host` of the running lab; its exit code.
///
/// # Errors
/// When no lab runs or it has no such host.
pub fn enter(host: &str, words: &[OsString]) -> Result<i32> {
    let state = required()?;
    let namespace = |kind: &str| fs::File::open(format!("/proc/{}/ns/{kind}", state.pid));
    let (pids, mounts) = (namespace("pid")?, namespace("mnt")?);
    // Asked before entering: the lab's /proc does not know this process.
    let (folder, program) = (std::env::current_dir()?, std::env::current_exe()?);
    setns(pids.as_fd(), CloneFlags::CLONE_NEWPID)?;
    setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
    if !Path::new(NETNS_FOLDER).join(host).exists() {
        let mut hosts: Vec<String> =
            fs::read_dir(NETNS_FOLDER)?.flatten().map(|entry| entry.file_name().to_string_lossy().into()).collect();
        hosts.sort();
        bail!("the lab has no host `{host}`; it has {}", hosts.join(", "));
    }
    // The new PID namespace begins with the next child: only in it does /proc say the truth.
    let mut command = Command::new(program);
    let status = command.arg(ENTER).arg(host).args(words).current_dir(folder).status()?;
    Ok(status.code().unwrap_or(1))
}

/// Becomes the command in the host. Does not come back unless it fails.
///
/// # Errors
/// When a namespace cannot be entered or the command not started.
pub fn become_command(arguments: &[OsString]) -> Result<i32> {
    use std::os::unix::process::CommandExt;
    let [host, words @ ..] = arguments else { bail!("no host was named") };
    let (folder, programs) = (std::env::current_dir()?, std::env::current_exe()?);
    let net = fs::File::open(Path::new(NETNS_FOLDER).join(host))?;
    let mounts = fs::File::open(Path::new(MOUNTS_FOLDER).join(host));
    setns(net.as_fd(), CloneFlags::CLONE_NEWNET)?;
    if let Ok(mounts) = mounts {
        setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
    }
    let shell = [OsString::from("bash"), "--norc".into()];
    let words = if words.is_empty() { &shell[..] } else { words };
    let mut path = programs.parent().unwrap_or(Path::new("/")).as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(folder).env("PATH", path).env("PATHSTEER_CONFIG", CLI_CONFIG);
    command.env("PS1", format!("{}# ", host.to_string_lossy()));
    Err(command.exec()).with_context(|| format!("starting {}", words[0].to_string_lossy()))
}

fn state_file() -> PathBuf {
    Path::new(STATE_FOLDER).join("state.json")
}

/// The lab that runs, if the process of the state file is one.
fn running() -> Result<Option<State>> {
    let Ok(text) = fs::read_to_string(state_file()) else { return Ok(None) };
    let state: State = serde_json::from_str(&text).context("reading the state of the lab")?;
    // Another process may have got the number since. After a build the file of a running one is marked as deleted.
    let program = fs::read_link(format!("/proc/{}/exe", state.pid)).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name.split(' ').next() == Some("pathsteer-lab")).then_some(state))
}

/// Whether the init has ended: the kernel lets it only after every other process of its namespace. A machine whose own
/// init reaps nobody keeps it as a zombie.
fn ended(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn required() -> Result<State> {
    running()?.context("no lab is running: start one with `make lab`")
}

fn hints(plan: &Plan) -> String {
    let lab = std::env::current_exe().map_or("pathsteer-lab".into(), |program| {
        let folder = std::env::current_dir().unwrap_or_default();
        program.strip_prefix(folder).unwrap_or(&program).display().to_string()
    });
    format!(
        "
{}
Enter one:            {lab} enter rv-07
Look at the fleet:    {lab} enter hq pathsteer status
                      {lab} enter hq pathsteer describe site rv-07
Talk to the server:   {lab} enter lan ping 198.51.100.2
Count every packet:   {lab} measure --seconds 20
  and meanwhile:      {lab} fault fiber blackhole
  and then:           {lab} fault fiber heal
Without copies:       {lab} enter hq pathsteer mode set rv-07 training
Another uplink:       {lab} enter hq pathsteer uplink force rv-07/starlink
See the copies:       {lab} enter starlink tcpdump -ni edge0 udp
End it:               make lab-down
",
        hosts(plan)
    )
}

/// Every host there is, and what it is.
fn hosts(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |what: &str, names: &mut dyn Iterator<Item = &str>| {
        let mut names: Vec<&str> = names.collect();
        names.dedup();
        if !names.is_empty() {
            text.push_str(&format!("{what:<22}{}\n", names.join(", ")));
        }
    };
    line("Sites' nodes:", &mut plan.sites.iter().map(|site| site.name));
    line("Clients behind them:", &mut plan.segments().map(|segment| segment.client));
    line("Providers:", &mut plan.uplinks().map(|uplink| uplink.router));
    line("Beside a provider:", &mut plan.uplinks().filter_map(|uplink| uplink.dish.map(|_| DISH)));
    line("Anchors:", &mut plan.anchors.iter().map(|anchor| anchor.name));
    line("Servers behind them:", &mut plan.anchors.iter().map(|anchor| anchor.server));
    line("On others' wires:", &mut plan.neighbours().map(|neighbour| neighbour.host));
    line("And:", &mut [HQ, WEB, WAN, SWITCHES].into_iter());
    line("", &mut ["hq is the operator's, web a server in front of the anchors, switches hold the hubs"].into_iter());
    text
}
