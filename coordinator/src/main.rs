//! `mlx-fleet`: the coordinator, and the operator's commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::crypto::install();
    coordinator::cli::main()
}
