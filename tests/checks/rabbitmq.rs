use std::time::Duration;

use smartstack::health::local::LocalProbe;
use tokio::time::Instant;

use crate::services::Service;
use crate::{run, said, target};

fn asked(broker: &Service, password: &str) -> LocalProbe {
    LocalProbe::RabbitMq {
        target: target(broker.port()),
        username: "guest".into(),
        password: password.to_owned().into(),
    }
}

#[tokio::test]
async fn a_real_rabbitmq_passes_and_is_left_politely() {
    let broker = Service::rabbitmq();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(said(asked(&broker, "guest")).await, "L7OK");
    }
    println!("rabbitmq: {:?} a check", begun.elapsed() / 20);
    let refused = said(asked(&broker, "wrong")).await;
    assert!(
        refused.starts_with("L7STS: rabbitmq says 403 ") && refused.contains("ACCESS_REFUSED"),
        "{refused}"
    );
    let log = broker.log();
    // The harness's own look comes first, without a user.
    let rude = log
        .lines()
        .filter(|line| line.contains("closing AMQP connection") && line.contains("user: 'guest'"));
    let rude: Vec<_> = rude.filter(|line| line.contains("[warning]")).collect();
    assert!(rude.is_empty(), "{rude:#?}");
}

#[tokio::test]
async fn a_stopped_rabbitmq_fails_at_the_deadline_and_passes_when_it_goes_on() {
    let broker = Service::rabbitmq();
    broker.stop();
    let deadline = Duration::from_millis(300);
    let (result, took) = run(asked(&broker, "guest"), deadline).await;
    assert_eq!(result.unwrap_err().to_string(), "L7TOUT: no answer in time");
    // The rest is this machine's.
    assert!(took >= deadline && took < deadline + Duration::from_secs(2), "{took:?}");
    broker.cont();
    assert_eq!(said(asked(&broker, "guest")).await, "L7OK");
}
