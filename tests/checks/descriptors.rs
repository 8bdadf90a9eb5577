//! A process without descriptors says nothing about the services that it checks.

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smartstack::health::SOCKET_ERROR;
use smartstack::health::local::{Exec, LocalHttp, LocalProbe, Target};

use crate::{LONG, child, run};

/// Enough for the test itself.
const DESCRIPTORS: u64 = 64;

#[tokio::test]
async fn a_lack_of_descriptors_is_told_from_a_failed_service() {
    let name = "descriptors::a_lack_of_descriptors_is_told_from_a_failed_service";
    if !child::is_child(name, false) {
        return;
    }
    let limit = Rlimit { current: Some(DESCRIPTORS), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let target = |host: &str| Target { host: host.into(), port: 1 };
    let http = LocalHttp {
        target: target("127.0.0.1"),
        uri: "/".into(),
        headers: Vec::new(),
        expect: None,
        connect_timeout: LONG,
    };
    for asked in [
        LocalProbe::Tcp(target("127.0.0.1")),
        LocalProbe::Tcp(target("localhost")),
        LocalProbe::Http(http),
        LocalProbe::Redis(target("127.0.0.1")),
        LocalProbe::RabbitMq {
            target: target("127.0.0.1"),
            username: "guest".into(),
            password: "guest".to_owned().into(),
        },
        LocalProbe::Exec(Exec { program: "true".into(), arguments: Vec::new() }),
    ] {
        let error = run(asked.clone(), LONG).await.0.unwrap_err();
        assert_eq!(error.code, SOCKET_ERROR, "{asked:?}: {error}");
    }
    drop(taken);
}
