//! The `redis` check: PING, then EXISTS of a key that nobody has. No password, as in the original: a server that wants one
//! says so, and that is a failure.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{ProbeResult, Target, answered_by, connect};
use crate::health::tcp::failure;
use crate::health::{ProbeError, ProbePass};

/// Both commands in one write; the server answers them in order.
const COMMANDS: &[u8] =
    b"*1\r\n$4\r\nPING\r\n*2\r\n$6\r\nEXISTS\r\n$25\r\nnerve-redis-service-check\r\n";

/// Longest reply that is read. `+PONG` has 7 bytes, an error of redis some 100.
const MAX_REPLY: usize = 1024;

pub(super) async fn probe(target: &Target, deadline: Instant) -> ProbeResult {
    let stream = connect::connect(target, deadline).await?;
    answered_by(deadline, exchange(stream)).await
}

async fn exchange(mut stream: TcpStream) -> ProbeResult {
    // A server may answer and close without reading: what it said counts, not that the write failed.
    stream.write_all(COMMANDS).await.ok();
    let mut pending = Vec::with_capacity(64);
    expect(&reply(&mut stream, &mut pending).await?, '+')?;
    expect(&reply(&mut stream, &mut pending).await?, ':')?;
    Ok(ProbePass { code: "L7OK", status: None })
}

/// The next line, taken out of `pending`.
async fn reply(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Result<String, ProbeError> {
    loop {
        if let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        if pending.len() >= MAX_REPLY {
            return Err(failure("L7RSP", format!("no end of line in {MAX_REPLY} bytes")));
        }
        match stream.read_buf(pending).await {
            Ok(0) => return Err(failure("L7RSP", "closed without an answer".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(failure("L7RSP", format!("connection lost: {error}"))),
        }
    }
}

fn expect(reply: &str, kind: char) -> Result<(), ProbeError> {
    if reply.starts_with(kind) {
        return Ok(());
    }
    match reply.strip_prefix('-') {
        Some(error) => Err(failure("L7STS", format!("redis says {error:?}"))),
        None => {
            let shown: String = reply.chars().take(60).collect();
            Err(failure("L7RSP", format!("not a redis reply: {shown:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::health::local::LocalProbe;
    use crate::health::local::testing::{Behaviour, closed, probe_now, scripted};

    async fn outcome(behaviour: Behaviour) -> String {
        match probe_now(LocalProbe::Redis(scripted(behaviour).await)).await {
            Ok(pass) => pass.code.to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn pong_and_a_number_pass() {
        assert_eq!(outcome(Behaviour::Say(b"+PONG\r\n:0\r\n")).await, "L7OK");
        assert_eq!(outcome(Behaviour::Drip(b"+PONG\r\n:1\r\n")).await, "L7OK");
    }

    #[tokio::test]
    async fn an_error_reply_fails_with_its_text() {
        assert_eq!(
            outcome(Behaviour::Say(b"-NOAUTH Authentication required.\r\n")).await,
            "L7STS: redis says \"NOAUTH Authentication required.\""
        );
        assert_eq!(
            outcome(Behaviour::Say(b"+PONG\r\n-LOADING wait\r\n")).await,
            "L7STS: redis says \"LOADING wait\""
        );
    }

    #[tokio::test]
    async fn garbage_silence_and_early_close_fail() {
        assert_eq!(
            outcome(Behaviour::Say(b"SSH-2.0-OpenSSH\r\n")).await,
            "L7RSP: not a redis reply: \"SSH-2.0-OpenSSH\""
        );
        assert_eq!(outcome(Behaviour::Close).await, "L7RSP: closed without an answer");
        assert_eq!(outcome(Behaviour::Say(b"+PONG\r\n")).await, "L7RSP: closed without an answer");
        assert_eq!(outcome(Behaviour::Hang).await, "L7TOUT: no answer in time");
        static LONG: [u8; 4096] = [b'+'; 4096];
        assert_eq!(outcome(Behaviour::Say(&LONG)).await, "L7RSP: no end of line in 1024 bytes");
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let error = probe_now(LocalProbe::Redis(closed().await)).await.unwrap_err();
        assert_eq!(error.code, "L4CON");
    }
}
