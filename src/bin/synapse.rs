//! `synapse`: arguments → configuration → [`smartstack::app`] → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    smartstack::app::cli::main()
}
