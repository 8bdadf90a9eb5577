//! Calls of the four kinds, each checked to the last byte.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::Failure;
use crate::service::wire::echo_client::EchoClient;
use crate::service::{Answer, Ask, DETAILS, LARGEST, MESSAGE};

pub type Client = EchoClient<Channel>;

/// A client with a connection of its own.
pub async fn client(front: std::net::SocketAddr) -> Result<Client, Failure> {
    let client = EchoClient::new(channel(front).await?);
    Ok(client.max_decoding_message_size(LARGEST).max_encoding_message_size(LARGEST))
}

pub async fn channel(front: std::net::SocketAddr) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{front}"))?.tcp_nodelay(true);
    Ok(endpoint.connect().await?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unary,
    Split,
    Collect,
    Talk,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Unary, Self::Split, Self::Collect, Self::Talk];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Split => "server streaming",
            Self::Collect => "client streaming",
            Self::Talk => "bidirectional",
        }
    }
}

/// What to send, and how the call shall end.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub messages: u32,
    pub bytes: usize,
    pub code: i32,
}

impl Shape {
    /// A call of the usual size.
    pub const SMALL: Self = Self { messages: 10, bytes: 100, code: 0 };
}

/// Messages of a call that wait to be sent.
const AHEAD: usize = 4;

const ASKED: &str = "some value; with=punctuation";
const ASKED_BIN: &[u8] = b"\0\xff\x01binary";

fn ask<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-asked", MetadataValue::from_static(ASKED));
    metadata.insert_bin("x-asked-bin", MetadataValue::from_bytes(ASKED_BIN));
    request
}

fn check(is_right: bool, what: &str) -> Result<(), Status> {
    is_right.then_some(()).ok_or_else(|| Status::data_loss(format!("wrong: {what}")))
}

fn check_metadata(metadata: &MetadataMap) -> Result<(), Status> {
    let text = metadata.get("x-answered").map(MetadataValue::as_bytes);
    check(text == Some(ASKED.as_bytes()), "metadata")?;
    let binary = metadata.get_bin("x-answered-bin").and_then(|value| value.to_bytes().ok());
    check(binary.as_deref() == Some(ASKED_BIN), "binary metadata")
}

/// The call shall end with the status of its shape.
fn ended<T>(result: Result<T, Status>, code: i32) -> Result<Option<T>, Status> {
    match (result, code) {
        (Ok(answer), 0) => Ok(Some(answer)),
        (Ok(_), _) => Err(Status::data_loss("wrong: no status")),
        (Err(status), _) if code == 0 || status.code() != Code::from_i32(code) => Err(status),
        (Err(status), _) => {
            check(status.message() == MESSAGE, "the status's message")?;
            check(status.details() == DETAILS, "the status's details")?;
            check_metadata(status.metadata())?;
            Ok(None)
        }
    }
}

/// A payload unlike others, so that no byte can be taken for another's.
fn payload(bytes: usize, seed: u32) -> Vec<u8> {
    let seed = seed as usize;
    (0..bytes)
        .map(|at| u8::try_from((at.wrapping_mul(31) ^ (at >> 8) ^ seed) & 255).unwrap_or(0))
        .collect()
}

/// Makes a call and checks all that comes of it.
pub async fn call(client: &mut Client, kind: Kind, shape: Shape) -> Result<(), Status> {
    match kind {
        Kind::Unary => unary(client, shape).await,
        Kind::Split => split(client, shape).await,
        Kind::Collect => collect(client, shape).await,
        Kind::Talk => talk(client, shape).await,
    }
}

async fn unary(client: &mut Client, shape: Shape) -> Result<(), Status> {
    let bytes = payload(shape.bytes, 1);
    let request = Ask { payload: bytes.clone(), code: shape.code, ..Ask::default() };
    let Some(response) = ended(client.unary(ask(request)).await, shape.code)? else {
        return Ok(());
    };
    check_metadata(response.metadata())?;
    check(response.metadata().get("grpc-status").is_some(), "trailers")?;
    check(response.get_ref().payload == bytes, "payload")
}

async fn split(client: &mut Client, shape: Shape) -> Result<(), Status> {
    let bytes = payload(shape.bytes, 2);
    let request =
        Ask { payload: bytes.clone(), count: shape.messages, code: shape.code, ..Ask::default() };
    let mut answers = begun(client.split(ask(request)).await?)?;
    for count in 0..shape.messages {
        let answer = next(&mut answers).await?;
        check(answer.count == count && answer.payload == bytes, "message")?;
    }
    end(answers, shape.code).await
}

async fn collect(client: &mut Client, shape: Shape) -> Result<(), Status> {
    let (send, receive) = mpsc::channel(AHEAD);
    let mut expected = Vec::new();
    for seed in 0..shape.messages {
        expected.extend(payload(shape.bytes, seed));
    }
    tokio::spawn(async move {
        for seed in 0..shape.messages {
            let payload = payload(shape.bytes, seed);
            if send.send(Ask { payload, code: shape.code, ..Ask::default() }).await.is_err() {
                return;
            }
        }
    });
    let asked = client.collect(ask(ReceiverStream::new(receive))).await;
    // Without a message nothing says how it shall end.
    let code = if shape.messages == 0 { 0 } else { shape.code };
    let Some(response) = ended(asked, code)? else {
        return Ok(());
    };
    check_metadata(response.metadata())?;
    let answer = response.into_inner();
    check(answer.count == shape.messages && answer.payload == expected, "what was collected")
}

/// One message there and one back, in turn: nobody may wait for more than there is.
async fn talk(client: &mut Client, shape: Shape) -> Result<(), Status> {
    let (send, receive) = mpsc::channel(AHEAD);
    let mut answers = begun(client.talk(ask(ReceiverStream::new(receive))).await?)?;
    for seed in 0..shape.messages {
        let bytes = payload(shape.bytes, seed);
        let message = Ask { payload: bytes.clone(), code: shape.code, ..Ask::default() };
        send.send(message).await.map_err(|_closed| Status::data_loss("wrong: closed"))?;
        let answer = next(&mut answers).await?;
        check(answer.count == seed + 1 && answer.payload == bytes, "message")?;
    }
    drop(send);
    end(answers, if shape.messages == 0 { 0 } else { shape.code }).await
}

fn begun(response: Response<Streaming<Answer>>) -> Result<Streaming<Answer>, Status> {
    check_metadata(response.metadata())?;
    Ok(response.into_inner())
}

async fn next(answers: &mut Streaming<Answer>) -> Result<Answer, Status> {
    answers.message().await?.ok_or_else(|| Status::data_loss("wrong: too few messages"))
}

async fn end(mut answers: Streaming<Answer>, code: i32) -> Result<(), Status> {
    if let Some(more) = ended(answers.message().await, code)? {
        check(more.is_none(), "too many messages")?;
        check(answers.trailers().await?.is_some(), "trailers")?;
    }
    Ok(())
}
