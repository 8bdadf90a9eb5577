//! `nerve`: arguments → configuration → [`smartstack::app::nerve`] → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    smartstack::app::nerve::cli::main()
}
