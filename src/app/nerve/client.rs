//! `nerve down`, `up`, `status`, `register`, `deregister`: the push API from a shell.
//!
//! Several nerves may run with one `state_dir` (an upgrade, or two on purpose), and each registers every service. So a
//! command goes to all of them, and is done when everyone who knows the service says so. A slot whose socket refuses is
//! one of a nerve that is gone.

mod arguments;
mod call;
mod report;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use hyper::Method;

use crate::admin::percent::percent_encode;
use crate::admin::server::MAX_BODY_BYTES;

pub use self::arguments::ClientCommand;
use self::arguments::{Place, Reach};
use self::call::{Call, Reply};
use super::socket;
use crate::app::cli::say;

/// Exit code for what was refused or did not happen. Wrong usage is 2, clap's.
const EXIT_FAILED: u8 = 1;

/// Why nothing could be asked.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error(
        "no nerve is running with state_dir {} (start one, or name its --state-dir)", .0.display()
    )]
    NobodyInDir(PathBuf),
    #[error("no nerve answers at {} (start one, or name its --state-dir)", .0.display())]
    NobodyAt(PathBuf),
    #[error("state_dir {} cannot be read: {source} (run it as root, or as nerve's user)", .dir.display())]
    Dir { dir: PathBuf, source: std::io::Error },
    #[error("{} cannot be read: {source}", .file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("{} has more than {MAX_BODY_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("no runtime: {0}")]
    Runtime(#[source] std::io::Error),
}

/// Does what the command line says and tells how it went: 0 done, 1 refused or failed.
pub fn run(command: ClientCommand) -> ExitCode {
    let reach = command.reach().clone();
    let asked = call_for(&command).and_then(|call| {
        let sockets = sockets(&reach.place)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)?;
        let replies = runtime.block_on(call::all(&call, &sockets));
        // Whoever hangs has had his time.
        runtime.shutdown_background();
        if replies.is_empty() {
            return Err(nobody(&reach.place));
        }
        Ok(replies)
    });
    match asked {
        Ok(replies) => tell(&command, &reach, &replies),
        Err(error) => {
            say(&format!("nerve: {error}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Who may be there.
fn sockets(place: &Place) -> Result<Vec<PathBuf>, ClientError> {
    match &place.socket {
        Some(socket) => Ok(vec![socket.clone()]),
        None => {
            let dir = place.state_dir();
            socket::slots(&dir).map_err(|source| ClientError::Dir { dir, source })
        }
    }
}

fn nobody(place: &Place) -> ClientError {
    match &place.socket {
        Some(socket) => ClientError::NobodyAt(socket.clone()),
        None => ClientError::NobodyInDir(place.state_dir()),
    }
}

fn call_for(command: &ClientCommand) -> Result<Call, ClientError> {
    let service = |name: &str| format!("/v1/services/{}", percent_encode(name));
    Ok(match command {
        ClientCommand::Status { name: None, .. } => Call::new(Method::GET, "/v1/services".into()),
        ClientCommand::Status { name: Some(name), .. } => Call::new(Method::GET, service(name)),
        ClientCommand::Down { name, lasting, reason, .. } => {
            let mut query = vec![("reason", reason.as_deref().unwrap_or_default())];
            query.extend(lasting.as_deref().map(|lasting| ("for", lasting)));
            Call::new(Method::POST, with_query(&format!("{}/down", service(name)), &query))
        }
        ClientCommand::Up { name, .. } => Call::new(Method::POST, format!("{}/up", service(name))),
        ClientCommand::Register { name, file, ttl, .. } => {
            let query: Vec<_> = ttl.as_deref().map(|ttl| ("ttl", ttl)).into_iter().collect();
            let path = with_query(&service(name), &query);
            Call { body: read(file)?.into(), ..Call::new(Method::PUT, path) }
        }
        ClientCommand::Deregister { name, .. } => Call::new(Method::DELETE, service(name)),
    })
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", percent_encode(value)))
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// A definition: a file, or standard input for `-`.
fn read(file: &PathBuf) -> Result<Vec<u8>, ClientError> {
    let failed = |source| ClientError::File { file: file.clone(), source };
    // One more than is taken shows that there is more.
    let most = u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().take(most).read_to_end(&mut text).map_err(failed)?;
    } else {
        let opened = std::fs::File::open(file).map_err(failed)?;
        opened.take(most).read_to_end(&mut text).map_err(failed)?;
    }
    if text.len() > MAX_BODY_BYTES {
        return Err(ClientError::TooLarge(file.clone()));
    }
    Ok(text)
}

/// Prints what came back.
#[expect(clippy::print_stdout, reason = "the answer is the command's product")]
fn tell(command: &ClientCommand, reach: &Reach, replies: &[Reply]) -> ExitCode {
    if reach.json {
        print!("{}", report::json(replies));
    } else {
        print!("{}", report::text(command, replies));
    }
    for line in report::failures(replies) {
        say(&format!("nerve: {line}"));
    }
    if report::is_done(replies) { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
}

#[cfg(test)]
mod tests;
