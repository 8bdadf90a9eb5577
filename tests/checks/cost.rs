//! What a check costs: by hand with `cargo test --release --test checks -- --nocapture slow_`.

use std::time::Duration;

use smartstack::health::local::{
    LocalCheckSettings, LocalHttp, LocalProbe, LocalRunner, ServiceChecks, Target,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{LONG, check, target};

const PASSES: u32 = 2000;

/// CPU time of this thread so far.
fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

/// A server on a thread of its own, so that its work is not counted: answers each connection and closes it.
fn server() -> Target {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut question = [0; 1024];
                if matches!(stream.read(&mut question).await, Ok(length) if length > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
                    drop(stream.write_all(answer).await);
                }
            }
        });
    });
    target(port)
}

async fn cost(name: &str, asked: LocalProbe) -> Duration {
    let settings = LocalCheckSettings {
        checks: vec![check(asked, LONG)],
        interval: Duration::from_secs(2),
        is_mocked: false,
    };
    let mut checks = ServiceChecks::new(&settings, &LocalRunner::default());
    assert_eq!(checks.pass().await.is_up, Some(true), "{checks:?}");
    let begun = thread_time();
    for _ in 0..PASSES {
        checks.pass().await;
    }
    let each = (thread_time() - begun) / PASSES;
    println!("{name}: {each:?} of CPU time a check");
    each
}

/// 200 services with an `http` check every 2 s are 100 checks a second: 5 % of a core are 500 µs each. A debug build
/// needs several times what a release build does, and is still below.
#[tokio::test]
async fn slow_a_check_costs_less_than_a_twentieth_of_a_core_allows() {
    let target = server();
    let http = LocalProbe::Http(LocalHttp {
        target: target.clone(),
        uri: "/health".into(),
        headers: Vec::new(),
        expect: Some("OK".into()),
        connect_timeout: LONG,
    });
    assert!(cost("http", http).await < Duration::from_micros(500));
    assert!(cost("tcp", LocalProbe::Tcp(target)).await < Duration::from_micros(500));
}
