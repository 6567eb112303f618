//! What a person sees in a terminal, which no pipe shows: colour, lines as they come, and an end by ctrl-C.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{SigHandler, Signal, signal};
use std::os::fd::AsFd;

use crate::stage::Stage;

/// How long anything on the screen may take.
const DEADLINE: Duration = Duration::from_secs(20);
const GREEN: &str = "\x1b[32m";

pub fn colour_is_for_terminals_and_for_who_wants_it() -> Result<(), Failed> {
    let stage = Stage::start()?;
    let shown = |command: &str| -> Result<String, Failed> {
        let mut terminal = Terminal::open(&stage, command)?;
        terminal.until_end()?;
        Ok(std::mem::take(&mut terminal.screen))
    };
    let coloured = shown("pathsteer get sites")?;
    let plain = shown("NO_COLOR=1 pathsteer get sites")?;
    let piped = String::from_utf8(stage.run("pathsteer get sites")?.stdout)?;
    expect(coloured.contains(&format!("{GREEN}True")), &coloured)?;
    expect(!plain.contains('\x1b') && plain.contains("True"), &plain)?;
    expect(plain.replace('\r', "") == piped, &piped)?;
    let difference = shown("sed 's/cost: 10/cost: 12/' examples/rv/uplinks.yaml | pathsteer diff -f -")?;
    expect(difference.contains("\x1b[31m-  cost: 10\x1b[0m") && difference.contains("\x1b[32m+  cost: 12"), &difference)
}

pub fn a_watch_shows_what_changes_as_it_changes_and_ends_by_ctrl_c() -> Result<(), Failed> {
    let stage = Stage::start()?;
    let mut terminal = Terminal::open(&stage, "exec pathsteer get uplinks --watch")?;
    terminal.until("rv-07/starlink")?;
    stage.run("sed 's/cost: 10/cost: 4711/' examples/rv/uplinks.yaml | pathsteer apply -f -")?;
    terminal.until("4711")?;
    stage.run("pathsteer delete uplink rv-07/fiber")?;
    terminal.until("Deleted")?;
    terminal.keyboard.write_all(b"\x03")?;
    let end = terminal.until_end()?;
    expect(end.signal() == Some(2), &format!("{end}"))
}

pub fn events_are_followed_until_ctrl_c() -> Result<(), Failed> {
    let stage = Stage::start()?;
    let mut terminal = Terminal::open(&stage, "exec pathsteer events --site rv-07 --follow")?;
    terminal.until("uplink/rv-07/fiber")?;
    stage.run("pathsteer delete uplink rv-07/cellular")?;
    terminal.until("Declared False")?;
    terminal.keyboard.write_all(b"\x03")?;
    let end = terminal.until_end()?;
    expect(end.signal() == Some(2), &format!("{end}"))
}

pub fn a_log_is_followed_until_ctrl_c() -> Result<(), Failed> {
    let stage = Stage::start()?;
    let mut terminal = Terminal::open(&stage, "exec pathsteer logs rv-07 --follow --tail 0")?;
    stage.run("sed 's/cost: 10/cost: 4711/' examples/rv/uplinks.yaml | pathsteer apply -f -")?;
    terminal.until("INFO  plan store_epoch=")?;
    terminal.keyboard.write_all(b"\x03")?;
    let end = terminal.until_end()?;
    expect(end.signal() == Some(2), &format!("{end}"))
}

pub fn an_editor_gets_the_terminal() -> Result<(), Failed> {
    let stage = Stage::start()?;
    // Reads from the keyboard, as an editor does.
    let editor = "EDITOR='sh -c '\\''read answer; sed -i \"s/cost: 10/cost: $answer/\" \"$1\"'\\'' editor'";
    let mut terminal = Terminal::open(&stage, &format!("{editor} pathsteer edit uplink rv-07/fiber"))?;
    terminal.keyboard.write_all(b"77\n")?;
    terminal.until("uplink/rv-07/fiber configured")?;
    expect(terminal.until_end()?.success(), &terminal.screen)?;
    let shown = String::from_utf8(stage.run("pathsteer get uplink rv-07/fiber")?.stdout)?;
    expect(shown.contains("77"), &shown)
}

fn expect(holds: bool, screen: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("seen:\n{screen}").into()) }
}

/// A command in a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: String,
}

impl Terminal {
    fn open(stage: &Stage, command: &str) -> io::Result<Terminal> {
        let pty = openpty(None, None)?;
        let slave = |fd: &OwnedFd| -> io::Result<Stdio> { Ok(fd.try_clone()?.into()) };
        let mut shell: Command = stage.shell(command);
        shell.stdin(slave(&pty.slave)?).stdout(slave(&pty.slave)?).stderr(slave(&pty.slave)?);
        let terminal = pty.slave.as_raw_fd();
        // SAFETY: between fork and exec only system calls are made; neither allocates nor takes a lock.
        unsafe {
            shell.pre_exec(move || {
                nix::unistd::setsid()?;
                // Whoever runs tests in the background ignores it, and so would all that they start.
                signal(Signal::SIGINT, SigHandler::SigDfl)?;
                // So that its ctrl-C is a signal for the command.
                match nix::libc::ioctl(terminal, nix::libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
        let child = shell.spawn()?;
        Ok(Terminal { child, keyboard: pty.master.into(), screen: String::new() })
    }

    /// Reads on until `text` is on the screen.
    fn until(&mut self, text: &str) -> Result<(), Failed> {
        let deadline = Instant::now() + DEADLINE;
        while !self.screen.contains(text) {
            if Instant::now() > deadline || !self.read()? {
                return Err(format!("`{text}` is not on the screen:\n{}", self.screen).into());
            }
        }
        Ok(())
    }

    /// Reads on until the command has ended.
    fn until_end(&mut self) -> Result<ExitStatus, Failed> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let end = self.child.try_wait()?;
            if let Some(end) = end {
                while self.read()? {}
                return Ok(end);
            }
            if Instant::now() > deadline {
                return Err(format!("it does not end:\n{}", self.screen).into());
            }
            self.read()?;
        }
    }

    /// Whether there was something to read within a tenth of a second.
    fn read(&mut self) -> io::Result<bool> {
        let mut waiting = [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::from(100_u16))?;
        if !waiting[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)) {
            return Ok(self.child.try_wait()?.is_none());
        }
        let mut bytes = [0; 4_096];
        let count = self.keyboard.read(&mut bytes)?;
        self.screen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        Ok(count > 0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
