//! Workers without an agent: `wireguard --config FILE` is one, as `pathsteer-agent` takes it, and `start --config FILE
//! --run-dir DIR` starts one and waits to be killed, as an agent would.

use std::path::Path;
use std::process::ExitCode;

use pathsteer_wireguard::{UserspaceBackend, WireguardBackend, run_worker};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["wireguard", "--config", config] => run_worker(Path::new(config)).map_err(|error| error.to_string()),
        ["start", "--config", config, "--run-dir", run_dir] => start(Path::new(config), Path::new(run_dir)),
        _ => {
            eprintln!("usage: pathsteer-wireguard wireguard --config FILE | start --config FILE --run-dir DIR");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Path, run_dir: &Path) -> Result<(), String> {
    let text = std::fs::read(config).map_err(|error| error.to_string())?;
    let config = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let binary = std::env::current_exe().map_err(|error| error.to_string())?;
    let backend = UserspaceBackend { binary, run_dir: run_dir.to_owned() };
    backend.ensure(&config).map_err(|error| error.to_string())?;
    loop {
        std::thread::park();
    }
}
