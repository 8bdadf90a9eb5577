//! `synapse demo`: what a newcomer sees first.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::support::lab::Lab;
use crate::support::synapse::binary;
use crate::support::wait::eventually;

#[tokio::test]
async fn the_printed_curl_lines_work_and_ctrl_c_ends_cleanly() {
    let _lab = Lab::alone().await;
    let mut demo = Command::new(binary("synapse"))
        .arg("demo")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("start");
    let text = Arc::new(Mutex::new(String::new()));
    let collectors = [
        tokio::spawn(collect(demo.stdout.take().expect("piped"), Arc::clone(&text))),
        tokio::spawn(collect(demo.stderr.take().expect("piped"), Arc::clone(&text))),
    ];
    let printed = || text.lock().expect("no panic").clone();
    let curls = eventually("curl lines are printed", Duration::from_secs(20), || async {
        let lines: Vec<String> = printed()
            .lines()
            .filter_map(|l| l.find("curl ").map(|at| l.split_at(at).1.trim().to_owned()))
            .collect();
        if lines.is_empty() { Err(printed()) } else { Ok(lines) }
    })
    .await;
    for line in &curls {
        works(line).await;
    }
    let pid = i32::try_from(demo.id().expect("running")).expect("a pid");
    kill_process(Pid::from_raw(pid).expect("not 0"), Signal::INT).expect("signal");
    let status = tokio::time::timeout(Duration::from_secs(10), demo.wait())
        .await
        .unwrap_or_else(|_| panic!("still running after Ctrl-C:\n{}", printed()))
        .expect("wait");
    assert_eq!(status.code(), Some(0), "{}", printed());
    for collector in collectors {
        collector.await.expect("no panic");
    }
    assert!(!printed().contains("panicked"), "{}", printed());
}

/// Runs a printed line as a newcomer would, until it answers.
async fn works(line: &str) {
    let line = line.trim_matches(['`', '"', '\'']);
    eventually(&format!("{line} works"), Duration::from_secs(10), || async {
        let output =
            Command::new("sh").args(["-c", line]).output().await.map_err(|e| e.to_string())?;
        if output.status.success() && !output.stdout.is_empty() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    })
    .await;
}

async fn collect(pipe: impl AsyncRead + Unpin, into: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut text = into.lock().expect("no panic");
        text.push_str(&line);
        text.push('\n');
    }
}
