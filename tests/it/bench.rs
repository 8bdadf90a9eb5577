//! `bench/run` works: one very short round of everything. What it measures here means nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::support::lab::Lab;
use crate::support::oracle::need;
use crate::support::synapse::binary;

/// Once it is built: 23 cases of a second each, or two. Building it may come first, on a machine that builds other things too.
const BUILD: Duration = Duration::from_secs(900);
const RUN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_comparison_with_haproxy_runs_to_its_end_without_an_error() {
    for (program, package) in [
        ("haproxy", "haproxy"),
        ("nginx", "nginx-light"),
        ("h2load", "nghttp2-client"),
        ("ip", "iproute2"),
    ] {
        need(program, package);
    }
    // Built before the lab is taken: others may run meanwhile.
    bench("run", &["--help"], Path::new("."), BUILD).await;
    let lab = Lab::alone().await;
    let results = lab.dir().join("results");
    let printed = bench("run", &["--smoke"], &results, RUN).await;
    let mut files: Vec<_> = std::fs::read_dir(&results)
        .expect("results")
        .map(|file| file.expect("readable").path())
        .collect();
    files.sort();
    let [json, svg] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(svg, &json.with_extension("svg"));
    let text = std::fs::read_to_string(svg).expect("readable");
    assert!(text.contains("http_keepalive_32"), "{text}");
    let text = std::fs::read_to_string(json).expect("readable");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let cases = json["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 23, "{text}");
    for case in cases {
        assert_eq!(case["errors"], 0, "{text}");
        let costs = case["cost"].as_object().expect("one for each proxy");
        assert!(costs.len() >= 2, "{text}");
        for (proxy, cost) in costs {
            assert!(cost.as_f64().is_some_and(|v| v > 0.0), "{proxy}: {text}");
            let is_memory = case["cost_unit"] != "us/req" && case["cost_unit"] != "ms/GB";
            let rate = case["rate"][proxy].as_f64();
            assert!(rate.is_some_and(|v| v > 0.0 || is_memory), "{proxy}: {text}");
        }
        let name = case["name"].as_str().expect("a name");
        assert!(printed.contains(name), "{printed}");
    }
}

/// Runs a bench on the binaries under test; gives what it printed.
async fn bench(name: &str, args: &[&str], results: &Path, limit: Duration) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("below the target directory");
    let synapse = binary("synapse");
    let child = Command::new(root.join("bench").join(name))
        .args(args)
        .current_dir(root)
        .env("SMARTSTACK_BIN_DIR", synapse.parent().expect("a directory"))
        .env("SMARTSTACK_BENCH_RESULTS", results)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(limit, child)
        .await
        .unwrap_or_else(|_| panic!("bench/{name} {args:?}: still running after {limit:?}"))
        .unwrap_or_else(|e| panic!("bench/{name}: {e}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout
}
