//! The command line of `synapse`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::config::LogFormat;
use crate::config::report::{Report, grouped};
use crate::config::synapse::{LoadOptions, load};
use crate::telemetry::log::{self, LogError};

/// Exit code for a refused configuration or an address that cannot be bound.
const EXIT_REFUSED: u8 = 1;

/// Discovers services in ZooKeeper and balances their traffic in process.
///
/// An application talks to localhost:PORT, one port per dependency. The configuration is Airbnb Synapse's.
#[derive(Debug, Parser)]
#[command(
    name = "synapse",
    version,
    after_help = "Signals: SIGTERM, SIGINT and SIGUSR1 stop softly, for `hard_stop_after` at most (a second one stops at once);\n\
                  SIGHUP reads the configuration again (a bad one changes nothing).\n\
                  Exit codes: 0 stopped as asked, 1 configuration refused or address taken, 2 wrong usage.\n\
                  Try `synapse demo` first: it needs no ZooKeeper and no configuration."
)]
struct Arguments {
    #[command(flatten)]
    files: Files,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Clone, Debug)]
struct Files {
    /// Configuration file (JSON or YAML), an unmodified Airbnb Synapse config.
    #[arg(short, long, env = "SYNAPSE_CONFIG", value_name = "FILE", value_parser = path())]
    config: Option<PathBuf>,
    /// Native keys in a file of their own, merged over the configuration.
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// Refuse what is otherwise accepted with a warning.
    #[arg(long)]
    strict: bool,
}

/// A path that may be empty: `SYNAPSE_CONFIG=` in a unit file means that there is none.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl Files {
    /// Options may stand before `check` or after it; `demo` has no use for them, so they are not clap's global ones.
    fn or(self, before: Self) -> Self {
        Self {
            config: self.config.or(before.config),
            overlay: self.overlay.or(before.overlay),
            strict: self.strict || before.strict,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate the configuration and print each service's effective settings with their origin.
    Check {
        #[command(flatten)]
        files: Files,
    },
    Demo(super::demo::DemoArguments),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Check { files }) => check(&files.or(arguments.files)),
        Some(Command::Demo(demo)) => super::demo::run(&demo),
        None => run(&arguments.files),
    }
}

fn run(files: &Files) -> ExitCode {
    let Some(options) = options(files) else {
        return ExitCode::from(EXIT_REFUSED);
    };
    match load(&options) {
        Ok(loaded) => super::synapse::run(loaded, options),
        Err(report) => refuse_start(report),
    }
}

#[expect(clippy::print_stdout, reason = "the report is the command's product")]
fn check(files: &Files) -> ExitCode {
    match options(files).map(|options| load(&options)) {
        Some(Ok(loaded)) => {
            print!("{}", crate::config::check::report(&loaded.config));
            ExitCode::SUCCESS
        }
        Some(Err(report)) => refuse_start(report),
        None => ExitCode::from(EXIT_REFUSED),
    }
}

fn options(files: &Files) -> Option<LoadOptions> {
    let given = files.config.as_ref();
    let Some(file) = given.filter(|file| !file.as_os_str().is_empty()) else {
        say("synapse: no configuration: use -c FILE or $SYNAPSE_CONFIG (or try `synapse demo`)");
        return None;
    };
    let mut options = LoadOptions::new(file);
    options.overlay.clone_from(&files.overlay);
    options.strict = files.strict;
    Some(options)
}

fn refuse_start(report: Report) -> ExitCode {
    refuse("synapse", report, "; nothing was started")
}

/// Warnings first, as `check` has them for a good file: what the last screen shows is what must be mended.
pub(super) fn refuse(program: &str, report: Report, end: &str) -> ExitCode {
    for warning in grouped(report.warnings) {
        say(&format!("warning: {warning}"));
    }
    for complaint in &report.complaints {
        say(&complaint.to_string());
    }
    let count = report.complaints.len();
    let plural = if count == 1 { "" } else { "s" };
    say(&format!("{program}: configuration refused: {count} complaint{plural}{end}"));
    ExitCode::from(EXIT_REFUSED)
}

#[expect(clippy::print_stderr, reason = "there is no subscriber before the configuration is known")]
pub(super) fn say(text: &str) {
    eprintln!("{text}");
}

/// Starts logging as the configuration asks.
///
/// # Errors
/// When the filter in the environment cannot be parsed, or logging was started before.
pub(super) fn start_log(format: LogFormat) -> Result<(), LogError> {
    log::init(match format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    })
}
