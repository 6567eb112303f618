//! The worker as a program of its own: `pathsteer-wireguard wireguard --config FILE`, as `pathsteer-agent` takes it.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ["wireguard", "--config", config] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        eprintln!("usage: pathsteer-wireguard wireguard --config FILE");
        return ExitCode::from(2);
    };
    match pathsteer_wireguard::run_worker(Path::new(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
