//! `nerve`: not yet. The name is taken so that packaging and process supervisors can be prepared.

use std::process::ExitCode;

use clap::Parser;

/// Registers the services of this host. Not implemented in this version.
#[derive(Debug, Parser)]
#[command(name = "nerve", version)]
struct Arguments {
    /// Configuration file (JSON or YAML).
    #[arg(short, long, env = "NERVE_CONFIG", value_name = "FILE")]
    config: Option<std::path::PathBuf>,
}

#[expect(clippy::print_stderr, reason = "the whole program is this one message")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config =
        arguments.config.as_deref().map(|file| format!(" ({} was not read)", file.display()));
    eprintln!(
        "nerve: not yet implemented in this version{}; keep Airbnb's nerve running: synapse reads what it registers",
        config.unwrap_or_default()
    );
    ExitCode::FAILURE
}
