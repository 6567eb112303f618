//! `pathsteer-lab`: see [`pathsteer_lab`].

fn main() -> std::process::ExitCode {
    pathsteer_lab::command::main(&std::env::args_os().collect::<Vec<_>>())
}
