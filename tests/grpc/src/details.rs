//! Calls in all their details: what gRPC says in metadata, trailers and resets must arrive as it was said.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::calls::{Client, Kind, Shape, call, client};
use crate::service::{Answer, Ask, Backend};
use crate::{FRONT, Failure};

/// How long something may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was tried, and what was wrong with it.
type Tried = (String, Option<String>);

pub async fn all(backends: &[Backend]) -> Result<Vec<Tried>, Failure> {
    let mut client = client(FRONT).await?;
    let mut tried: Vec<Tried> = Vec::new();
    let mut add = |name: &str, came: Result<(), Status>| {
        tried.push((name.to_owned(), came.err().map(|status| status.to_string())));
    };
    for kind in Kind::ALL {
        add(
            &format!("{}, metadata, trailers", kind.name()),
            call(&mut client, kind, Shape::SMALL).await,
        );
        let empty = Shape { messages: 0, bytes: 0, code: 0 };
        add(&format!("{}, nothing in it", kind.name()), call(&mut client, kind, empty).await);
        add(&format!("{}, every status", kind.name()), statuses(&mut client, kind).await);
    }
    let mebibytes = |messages, each: usize| Shape { messages, bytes: each << 20, code: 0 };
    add(
        "a message of 32 MiB there and back",
        call(&mut client, Kind::Unary, mebibytes(1, 32)).await,
    );
    add("64 messages of 1 MiB back", call(&mut client, Kind::Split, mebibytes(64, 1)).await);
    add("32 messages of 1 MiB there", call(&mut client, Kind::Collect, mebibytes(32, 1)).await);
    add(
        "32 messages of 1 MiB there and back in turn",
        call(&mut client, Kind::Talk, mebibytes(32, 1)).await,
    );
    let many = Shape { messages: 5000, bytes: 10, code: 0 };
    add("5,000 small messages there and back in turn", call(&mut client, Kind::Talk, many).await);
    add("5,000 small messages back", call(&mut client, Kind::Split, many).await);
    add("5,000 small messages there", call(&mut client, Kind::Collect, many).await);
    add("a time-out of the client's", deadline(&mut client, backends).await);
    add("an answer given up half way", given_up(&mut client, backends).await);
    add("a method that is not", unknown().await);
    Ok(tried)
}

/// All codes but OK.
async fn statuses(client: &mut Client, kind: Kind) -> Result<(), Status> {
    for code in 1..=16 {
        call(client, kind, Shape { messages: 3, bytes: 10, code }).await?;
    }
    Ok(())
}

/// `grpc-timeout`, kept by both sides: the client says it, the backend ends with it.
async fn deadline(client: &mut Client, backends: &[Backend]) -> Result<(), Status> {
    let before = cancelled(backends);
    let mut request = Request::new(Ask { hold: true, ..Ask::default() });
    request.set_timeout(Duration::from_millis(200));
    match client.unary(request).await.map_err(|status| status.code()) {
        Err(Code::Cancelled | Code::DeadlineExceeded) => {
            until_cancelled(backends, before + 1).await
        }
        other => Err(Status::data_loss(format!("wrong: {other:?}"))),
    }
}

/// Two messages have come when the client leaves.
async fn given_up(client: &mut Client, backends: &[Backend]) -> Result<(), Status> {
    let before = cancelled(backends);
    let ask = Ask { count: 2, hold: true, ..Ask::default() };
    let mut answers = client.split(Request::new(ask)).await?.into_inner();
    for _ in 0..2 {
        answers.message().await?;
    }
    drop(answers);
    until_cancelled(backends, before + 1).await
}

async fn unknown() -> Result<(), Status> {
    let channel = crate::calls::channel(FRONT)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut bare = tonic::client::Grpc::new(channel);
    bare.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<Ask, Answer>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/smartstack.Echo/Nothing");
    match bare.unary(Request::new(Ask::default()), path, codec).await {
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        other => Err(Status::data_loss(format!("wrong: {other:?}"))),
    }
}

fn cancelled(backends: &[Backend]) -> usize {
    backends.iter().map(|it| it.seen.cancelled.load(Ordering::SeqCst)).sum()
}

async fn until_cancelled(backends: &[Backend], want: usize) -> Result<(), Status> {
    let end = Instant::now() + PATIENCE;
    while cancelled(backends) < want {
        if Instant::now() > end {
            return Err(Status::data_loss("wrong: the backend was not told"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// A call that lasts.
pub struct Long {
    send: mpsc::Sender<Ask>,
    answers: Streaming<Answer>,
    backend: String,
}

impl Long {
    async fn begin(client: &mut Client) -> Result<Self, Status> {
        let (send, receive) = mpsc::channel(1);
        let answers = client.talk(Request::new(ReceiverStream::new(receive))).await?.into_inner();
        let mut long = Self { send, answers, backend: String::new() };
        long.backend = long.say().await?;
        Ok(long)
    }

    /// Who answers.
    async fn say(&mut self) -> Result<String, Status> {
        let closed = |_closed| Status::data_loss("wrong: closed");
        self.send.send(Ask::default()).await.map_err(closed)?;
        let answer = self.answers.message().await?;
        Ok(answer.ok_or_else(|| Status::data_loss("wrong: it has ended"))?.backend)
    }

    /// It is where it was.
    pub async fn goes_on(&mut self) -> Result<(), Failure> {
        let backend = self.say().await?;
        if backend == self.backend { Ok(()) } else { Err("a call changed its backend".into()) }
    }

    /// It goes on to its end.
    pub async fn ends(mut self) -> Result<(), Failure> {
        self.goes_on().await?;
        drop(self.send);
        match self.answers.message().await? {
            None => Ok(()),
            Some(_) => Err("a message that nobody asked for".into()),
        }
    }
}

/// A call that lasts, at this backend.
pub async fn until_at(client: &mut Client, backend: &str) -> Result<Long, Failure> {
    for _ in 0..10 {
        let long = Long::begin(client).await?;
        if long.backend == backend {
            return Ok(long);
        }
        long.ends().await?;
    }
    Err(format!("no call in ten goes to {backend}").into())
}
