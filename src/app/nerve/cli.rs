//! The command line of `nerve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::super::cli::{refuse, say};
use super::client::{self, ClientCommand};
use crate::config::Complaint;
use crate::config::nerve::{NerveConfig, NerveLoadOptions, load};
use crate::config::report::grouped;

/// Exit code for a refused configuration. An admin address that is taken is no reason to end: it is tried again.
const EXIT_REFUSED: u8 = 1;

/// Checks the services of this host and registers those that work.
///
/// The configuration is Airbnb Nerve's.
#[derive(Debug, Parser)]
#[command(
    name = "nerve",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Signals: SIGTERM, SIGINT and SIGUSR1 deregister everything and end nerve (a second one at once); SIGUSR2 ends it\n\
                  and leaves everything registered for its successor; SIGHUP reads the configuration again (a bad one changes nothing).\n\
                  Exit codes: 0 ended as asked, 1 configuration refused or nerve cannot run, 2 wrong usage.\n\
                  $NERVE_CHECK_CONFIG, whatever it says, is --check-config."
)]
struct Arguments {
    /// Configuration file (YAML or JSON), an unmodified Airbnb Nerve config.
    #[arg(short, long, env = "NERVE_CONFIG", value_name = "FILE", value_parser = path())]
    config: Option<PathBuf>,
    /// Reported as `name`; overrides `instance_id` of the configuration.
    #[arg(short, long = "instance_id", env = "NERVE_INSTANCE_ID", value_name = "ID")]
    instance_id: Option<String>,
    /// Validate the configuration only: exit 0 if it is valid, 1 if not.
    #[arg(short = 'k', long = "check-config")]
    check_config: bool,
    /// Native keys in a file of their own, merged over the configuration.
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// Refuse what is otherwise accepted with a warning.
    #[arg(long)]
    strict: bool,
    #[command(subcommand)]
    command: Option<ClientCommand>,
}

/// A path that may be empty: `NERVE_CONFIG=` in a unit file means that there is none.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if let Some(command) = arguments.command.take() {
        return client::run(command);
    }
    let given = arguments.config.as_ref();
    let Some(file) = given.filter(|file| !file.as_os_str().is_empty()) else {
        say("nerve: no configuration: use -c FILE or $NERVE_CONFIG");
        return ExitCode::from(EXIT_REFUSED);
    };
    let mut options = NerveLoadOptions::new(file);
    options.instance_id = arguments.instance_id.filter(|id| !id.is_empty());
    options.overlay = arguments.overlay;
    options.strict = arguments.strict;
    let is_check = arguments.check_config || std::env::var_os("NERVE_CHECK_CONFIG").is_some();
    match load(&options) {
        Ok(config) if is_check => check(&config),
        Ok(config) => super::run::run(config, options),
        Err(report) => {
            let end = if is_check { "" } else { "; nothing was started" };
            refuse("nerve", report, end)
        }
    }
}

/// `-k`: what is wrong, or nothing but the remarks.
fn check(config: &NerveConfig) -> ExitCode {
    for warning in grouped(config.warnings.clone()) {
        say(&format!("warning: {warning}"));
    }
    config.refused.iter().map(Complaint::to_string).for_each(|complaint| say(&complaint));
    if config.refused.is_empty() {
        ExitCode::SUCCESS
    } else {
        say("nerve: these services cannot be registered; the others are valid");
        ExitCode::from(EXIT_REFUSED)
    }
}
