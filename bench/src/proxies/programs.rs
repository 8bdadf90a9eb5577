//! The programs that are measured: where they are, and in which version.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Kind;
use crate::Outcome;

/// The programs that are not Debian's.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// Ours.
    pub(crate) synapse: PathBuf,
    /// Another build of ours, with `--before`.
    pub(crate) before: PathBuf,
    /// With `--all`.
    pub(crate) envoy: PathBuf,
    /// With `--all`.
    pub(crate) pingora: PathBuf,
}

impl Programs {
    /// What to execute.
    pub(super) fn program(&self, kind: Kind) -> PathBuf {
        match kind {
            Kind::Synapse => self.synapse.clone(),
            Kind::Before => self.before.clone(),
            Kind::Haproxy => debian("haproxy"),
            Kind::Nginx => debian("nginx"),
            Kind::Envoy => self.envoy.clone(),
            Kind::Pingora => self.pingora.clone(),
        }
    }

    /// What a program says about its version.
    pub(crate) fn version(&self, kind: Kind) -> Outcome<String> {
        let flag = match kind {
            Kind::Haproxy | Kind::Nginx => "-v",
            Kind::Synapse | Kind::Before | Kind::Envoy | Kind::Pingora => "--version",
        };
        version(&self.program(kind), flag)
    }
}

/// The first line that a program says about its version.
pub(crate) fn version(program: &Path, flag: &str) -> Outcome<String> {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output();
    let mut output = output.map_err(|e| format!("{}: {e}", program.display()))?;
    // nginx says it on stderr.
    output.stdout.append(&mut output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty());
    Ok(line.unwrap_or_default().trim().to_owned())
}

/// Debian keeps them out of users' PATH.
pub(super) fn debian(program: &str) -> PathBuf {
    let debian = Path::new("/usr/sbin").join(program);
    if debian.exists() { debian } else { program.into() }
}
