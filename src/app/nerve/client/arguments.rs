//! The command line of the client.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::text::{BareNumber, parse_duration};

/// Where nerve keeps its state when nobody says otherwise, as its configuration has it.
const DEFAULT_STATE_DIR: &str = "/var/lib/nerve";

/// A command to the running nerve.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Take a service out of the registry, although its checks pass; returns when it is gone.
    #[command(
        after_help = "Example: nerve down search --for 5m --reason deploy && systemctl restart search\n\
                            Exit codes: 0 gone from the registry, 1 refused or not acknowledged, 2 wrong usage."
    )]
    Down {
        /// The service, as in the configuration.
        name: String,
        /// It comes back by itself after this (30s, 5m, 1h; 100 ms to 30 days); without it, on `nerve up` only.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        lasting: Option<String>,
        /// Why, for whoever looks at the status.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Whom to ask.
        #[command(flatten)]
        reach: Reach,
    },
    /// End an announced downtime: the service is registered again as its checks say.
    Up {
        /// The service, as in the configuration.
        name: String,
        /// Whom to ask.
        #[command(flatten)]
        reach: Reach,
    },
    /// Show every service, or everything about one: state, reason, checks, node, session, penalty.
    Status {
        /// The service; all without it.
        name: Option<String>,
        /// Whom to ask.
        #[command(flatten)]
        reach: Reach,
    },
    /// Register a service that is not in the configuration, or renew it.
    #[command(
        after_help = "The definition is a service as in the configuration, in JSON; `exec` checks are refused.\n\
                            Repeat it before the time is over: nerve register web web.json --ttl 60s"
    )]
    Register {
        /// Its name.
        name: String,
        /// The definition; `-` reads standard input.
        file: PathBuf,
        /// It ends by itself after this, unless it is renewed (1 s to 24 h; default 60s).
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        ttl: Option<String>,
        /// Whom to ask.
        #[command(flatten)]
        reach: Reach,
    },
    /// Take back a `register`; returns when the service is gone from the registry.
    Deregister {
        /// Its name.
        name: String,
        /// Whom to ask.
        #[command(flatten)]
        reach: Reach,
    },
}

impl ClientCommand {
    /// Whom to ask, and how to answer.
    pub(super) fn reach(&self) -> &Reach {
        match self {
            Self::Down { reach, .. }
            | Self::Up { reach, .. }
            | Self::Status { reach, .. }
            | Self::Register { reach, .. }
            | Self::Deregister { reach, .. } => reach,
        }
    }
}

/// What all commands have.
#[derive(Args, Clone, Debug)]
pub struct Reach {
    #[command(flatten)]
    pub(super) place: Place,
    /// Print JSON: one element for each nerve that answered.
    #[arg(long)]
    pub(super) json: bool,
}

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub(super) struct Place {
    /// The socket of one nerve.
    #[arg(long, value_name = "PATH", conflicts_with = "state_dir")]
    pub(super) socket: Option<PathBuf>,
    /// `state_dir` of the nerves to ask [default: $STATE_DIRECTORY, else /var/lib/nerve].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Place {
    /// The directory whose slots are asked.
    pub(super) fn state_dir(&self) -> PathBuf {
        let from_systemd = || {
            let dirs = std::env::var("STATE_DIRECTORY").ok()?;
            // systemd joins several directories with `:`.
            dirs.split(':').next().filter(|dir| !dir.is_empty()).map(PathBuf::from)
        };
        let given = self.state_dir.clone().or_else(from_systemd);
        given.unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_DIR))
    }
}

/// Checked here so that a slip is wrong usage; the bounds are the server's.
fn duration(text: &str) -> Result<String, String> {
    match parse_duration(text, BareNumber::Seconds) {
        Some(_) => Ok(text.to_owned()),
        None => Err(String::from("no duration such as 30s, 5m or 1h")),
    }
}
