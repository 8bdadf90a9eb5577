//! The command line and the end of the process.

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Conn, get};
use crate::support::lab::Lab;
use crate::support::synapse::{config, fixed, run};

#[tokio::test]
async fn version_and_help_are_printed() {
    let version = run("synapse", &["--version"], &[]).await;
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", version.stdout);
    let help = run("synapse", &["--help"], &[]).await;
    assert_eq!(help.code, Some(0));
    for word in ["--config", "--overlay", "--strict", "check", "demo", "SYNAPSE_CONFIG"] {
        assert!(help.stdout.contains(word), "{word} in\n{}", help.stdout);
    }
}

#[tokio::test]
async fn without_a_config_the_way_to_give_one_is_said() {
    let output = run("synapse", &[], &[]).await;
    assert!(output.code.is_some_and(|code| code != 0));
    for way in ["-c", "SYNAPSE_CONFIG"] {
        assert!(output.stderr.contains(way), "{way} in {}", output.stderr);
    }
}

#[tokio::test]
async fn the_documents_know_every_option_of_the_help() {
    let synapse = include_str!("../../docs/configuration.md");
    let nerve = include_str!("../../docs/nerve.md");
    for (program, page, arguments) in [
        ("synapse", synapse, &["--help"][..]),
        ("synapse", synapse, &["check", "--help"]),
        ("synapse", synapse, &["demo", "--help"]),
        ("nerve", nerve, &["--help"]),
    ] {
        let help = run(program, arguments, &[]).await.stdout;
        let words = help.split(|c: char| c.is_whitespace() || matches!(c, ',' | '.'));
        for option in words.filter(|word| word.starts_with("--") && word.len() > 2) {
            let shown =
                page.contains(&format!("`{option}`")) || page.contains(&format!("`{option} "));
            assert!(shown, "{option} of {program} {arguments:?} is not in its document");
        }
    }
}

#[tokio::test]
async fn an_empty_environment_is_none_and_says_the_way() {
    let output = run("synapse", &["check"], &[("SYNAPSE_CONFIG", "")]).await;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("-c FILE"), "{}", output.stderr);
}

#[tokio::test]
async fn options_stand_before_check_or_after_it_and_demo_has_none() {
    let lab = Lab::new().await;
    let file = lab.write("g1.json", include_str!("../golden/g1_synapse_minimal.json"));
    let path = file.to_string_lossy();
    for arguments in [["check", "-c", &*path], ["-c", &*path, "check"]] {
        let output = run("synapse", &arguments, &[]).await;
        assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.stderr);
    }
    let help = run("synapse", &["demo", "--help"], &[]).await;
    assert!(!help.stdout.contains("--config"), "{}", help.stdout);
    assert!(help.stdout.contains("--http <PORT>"), "{}", help.stdout);
}

#[tokio::test]
async fn the_config_may_come_from_the_environment() {
    let lab = Lab::new().await;
    let file = lab.write("g1.json", include_str!("../golden/g1_synapse_minimal.json"));
    let path = file.to_string_lossy();
    let output = run("synapse", &["check"], &[("SYNAPSE_CONFIG", &path)]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("billing"), "{}", output.stdout);
}

#[tokio::test]
async fn nerve_says_how_it_is_used() {
    let output = run("nerve", &[], &[]).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("use -c FILE or $NERVE_CONFIG"), "{}", output.stderr);
    let wrong = run("nerve", &["--bogus"], &[]).await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    let help = run("nerve", &["--help"], &[]).await;
    for part in ["--config", "--instance_id", "--check-config", "SIGHUP", "down", "deregister"] {
        assert!(help.stdout.contains(part), "{part}: {}", help.stdout);
    }
    let lab = Lab::new().await;
    let file = lab.write("n.yaml", "services: {}\n");
    let path = file.to_string_lossy();
    for (args, env) in [
        (vec!["-k", "-i", "a"], vec![("NERVE_CONFIG", path.as_ref())]),
        (
            vec!["-c", path.as_ref()],
            vec![("NERVE_INSTANCE_ID", "a"), ("NERVE_CHECK_CONFIG", "false")],
        ),
    ] {
        let output = run("nerve", &args, &env).await;
        assert_eq!(output.code, Some(0), "{args:?} {env:?}: {}", output.stderr);
    }
}

#[tokio::test]
async fn sigterm_finishes_what_is_under_way_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT, Signal::USR1] {
        let lab = Lab::new().await;
        let origin = lab.origin("A").await;
        let front = lab.free_addr();
        let service = fixed(front, "http", &[], &[("a", origin.addr(), "")]);
        let mut synapse = lab.synapse(config(json!({"web": service}))).await;
        let held = tokio::spawn(get(front, "/hold"));
        crate::support::wait::eventually(
            "it is held",
            std::time::Duration::from_secs(5),
            || async { if origin.held() == 1 { Ok(()) } else { Err(origin.held()) } },
        )
        .await;
        synapse.signal(signal);
        crate::support::wait::eventually(
            "no new connection is accepted",
            std::time::Duration::from_secs(5),
            || async { if Conn::open(front).await.is_err() { Ok(()) } else { Err("accepted") } },
        )
        .await;
        origin.release(1);
        let answer = held.await.expect("no panic").expect("the request under way is answered");
        assert_eq!(answer.text(), "A");
        assert_eq!(synapse.ended().await.code(), Some(0), "{signal:?}: {}", synapse.log());
    }
}
