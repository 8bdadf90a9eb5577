//! The `exec` check: a program of the file's; exit code 0 passes. No shell, no input.
//!
//! It runs in a process group of its own, which is killed as a whole at the deadline and when the check is dropped: what
//! the program started must not outlive it. A program that ends in time may leave others behind; those are its own affair.

use std::io;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use super::{Exec, ProbeResult};
use crate::health::tcp::{connect_error, failure};
use crate::health::{ProbeError, ProbePass, SOCKET_ERROR};

/// What is kept of each output, from its end, bytes. Only one line of it is shown.
const KEPT_OUTPUT: usize = 4096;

/// Longest line that is shown, characters.
const SHOWN: usize = 200;

pub(super) async fn probe(exec: &Exec, deadline: Instant) -> ProbeResult {
    let mut child = start(exec)?;
    let (mut out, mut err) = (Tail::default(), Tail::default());
    let (stdout, stderr) = (child.process.stdout.take(), child.process.stderr.take());
    let running = async {
        let mut reading = std::pin::pin!(async {
            tokio::join!(out.read(stdout), err.read(stderr));
        });
        tokio::select! {
            biased;
            // Whoever it left behind may hold its output open: the end of the program decides, not the end of the output.
            () = &mut reading => child.wait().await,
            ended = child.wait() => ended,
        }
    };
    match timeout_at(deadline, running).await {
        Ok(Ok(status)) => judge(status, &out, &err),
        Ok(Err(error)) => Err(failure("PROCERR", error.to_string())),
        Err(_) => Err(failure("PROCTOUT", "no end in time".to_owned())),
    }
}

fn start(exec: &Exec) -> Result<Group, ProbeError> {
    let spawned = Command::new(&exec.program)
        .args(&exec.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let process = spawned.map_err(|error| not_started(exec, &error))?;
    let leader = process.id().and_then(|id| id.try_into().ok()).and_then(Pid::from_raw);
    Ok(Group { process, leader })
}

fn not_started(exec: &Exec, error: &io::Error) -> ProbeError {
    // No room for another process is as much our own lack as no descriptor.
    let is_ours =
        connect_error(error).code == SOCKET_ERROR || error.kind() == io::ErrorKind::WouldBlock;
    let code = if is_ours { SOCKET_ERROR } else { "PROCERR" };
    failure(code, format!("{}: {error}", exec.program.display()))
}

fn judge(status: ExitStatus, out: &Tail, err: &Tail) -> ProbeResult {
    if status.success() {
        return Ok(ProbePass { code: "PROCOK", status: None });
    }
    match err.last_line().or_else(|| out.last_line()) {
        Some(line) => Err(failure("PROCERR", format!("{status}: {line}"))),
        None => Err(failure("PROCERR", status.to_string())),
    }
}

/// A program and everything it started, killed when this is dropped before the program has ended.
#[derive(Debug)]
struct Group {
    process: Child,
    /// Id of the program and of its group; `None` once it has been waited for: the number may be somebody else's then.
    leader: Option<Pid>,
}

impl Group {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait().await?;
        self.leader = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // The only possible error is that nobody is left. The runtime waits for the program.
            kill_process_group(leader, Signal::KILL).ok();
        }
    }
}

/// The end of an output.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Reads to the end of `output`, so that the program is never held up by a full pipe.
    async fn read(&mut self, output: Option<impl AsyncRead + Unpin>) {
        let Some(mut output) = output else {
            return;
        };
        // An error is the end as well: the text is for people only.
        while matches!(output.read_buf(&mut self.0).await, Ok(length) if length > 0) {
            let excess = self.0.len().saturating_sub(KEPT_OUTPUT);
            self.0.drain(..excess);
        }
    }

    /// The last line that is not blank, shortened.
    fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        Some(line.chars().filter(|c| !c.is_control()).take(SHOWN).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::local::LocalProbe;
    use crate::health::local::testing::{probe_now, soon};

    fn exec(program: &str, arguments: &[&str]) -> Exec {
        Exec {
            program: program.into(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        }
    }

    fn shell(script: &str) -> Exec {
        exec("sh", &["-c", script])
    }

    async fn outcome(exec: Exec) -> String {
        match probe_now(LocalProbe::Exec(exec)).await {
            Ok(pass) => pass.code.to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// State of a process as the kernel shows it; `None` when there is none.
    fn state(pid: &str) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().next().map(str::to_owned)
    }

    async fn gone(pid: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while let Some(state) = state(pid) {
            assert!(Instant::now() < end, "process {pid} is still there: {state}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until `file` has a line; processes of a script write their ids there.
    async fn ids(file: &std::path::Path, count: usize) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let ids: Vec<String> = text.lines().map(str::to_owned).collect();
            if ids.len() >= count && text.ends_with('\n') {
                return ids;
            }
            assert!(Instant::now() < end, "no process ids in {text:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(name: &str) -> std::path::PathBuf {
        let file =
            std::env::temp_dir().join(format!("smartstack-exec-{}-{name}", std::process::id()));
        std::fs::remove_file(&file).ok();
        file
    }

    #[tokio::test]
    async fn exit_code_zero_passes_and_nothing_is_left() {
        assert_eq!(outcome(exec("true", &[])).await, "PROCOK");
        let file = note("pass");
        assert_eq!(outcome(shell(&format!("echo $$ > {}", file.display()))).await, "PROCOK");
        gone(&ids(&file, 1).await[0]).await;
        std::fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn another_exit_code_fails_with_the_last_line_of_its_errors() {
        assert_eq!(outcome(exec("false", &[])).await, "PROCERR: exit status: 1");
        let script = "echo out; echo first >&2; echo 'no database' >&2; echo >&2; exit 3";
        assert_eq!(outcome(shell(script)).await, "PROCERR: exit status: 3: no database");
        assert_eq!(
            outcome(shell("echo CRITICAL; exit 2")).await,
            "PROCERR: exit status: 2: CRITICAL"
        );
        assert_eq!(outcome(shell("kill -9 $$")).await, "PROCERR: signal: 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn arguments_are_not_read_by_a_shell() {
        assert_eq!(outcome(exec("test", &["$HOME; x", "=", "$HOME; x"])).await, "PROCOK");
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_fails() {
        let said = outcome(exec("/no/such/program", &[])).await;
        assert!(said.starts_with("PROCERR: /no/such/program: No such file"), "{said}");
    }

    #[tokio::test]
    async fn there_is_no_input_and_a_lot_of_output_is_no_obstacle() {
        assert_eq!(
            outcome(shell("cat; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")).await,
            "PROCOK"
        );
    }

    #[tokio::test]
    async fn who_it_leaves_behind_does_not_hold_it_up() {
        let file = note("behind");
        let script = format!("sleep 600 & echo $! > {}; exit 0", file.display());
        assert_eq!(outcome(shell(&script)).await, "PROCOK");
        let left = &ids(&file, 1).await[0];
        let left = Pid::from_raw(left.parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
        std::fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn the_whole_group_is_killed_at_the_deadline() {
        let file = note("deadline");
        let script = format!(
            "trap '' TERM; echo $$ > {f}; sleep 600 & echo $! >> {f}; wait",
            f = file.display()
        );
        assert_eq!(outcome(shell(&script)).await, "PROCTOUT: no end in time");
        for id in ids(&file, 2).await {
            gone(&id).await;
        }
        std::fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn the_whole_group_is_killed_when_the_probe_is_dropped() {
        let file = note("drop");
        let exec =
            shell(&format!("echo $$ > {f}; sleep 600 & echo $! >> {f}; wait", f = file.display()));
        let mut probing = Box::pin(probe(&exec, soon() + Duration::from_secs(600)));
        let ids = tokio::select! {
            result = &mut probing => panic!("it ended: {result:?}"),
            ids = ids(&file, 2) => ids,
        };
        drop(probing);
        for id in ids {
            gone(&id).await;
        }
        std::fs::remove_file(file).unwrap();
    }
}
