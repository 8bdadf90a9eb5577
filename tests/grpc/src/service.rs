//! The service, and backends that serve it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

/// What tonic would have made of a `.proto` file.
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/smartstack.Echo.rs"));
}

/// The largest message that either side takes: beyond tonic's 4 MB, so that the proxy's limits would show.
pub const LARGEST: usize = 64 << 20;

/// A call, or a message of one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ask {
    /// Comes back.
    #[prost(bytes = "vec", tag = "1")]
    pub payload: Vec<u8>,
    /// Messages to be sent (`Split`).
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// The status that the call ends with, after all messages.
    #[prost(int32, tag = "3")]
    pub code: i32,
    /// Never answer.
    #[prost(bool, tag = "4")]
    pub hold: bool,
}

/// An answer, or a message of one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    /// Who answers.
    #[prost(string, tag = "1")]
    pub backend: String,
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
    /// Messages that have come.
    #[prost(uint32, tag = "3")]
    pub count: u32,
}

/// What a status carries besides its code.
pub const MESSAGE: &str = "größer als 100 %\n";
pub const DETAILS: &[u8] = b"\0\x01\xff details";

/// What a backend has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub calls: AtomicUsize,
    /// Calls that ended because their client gave up.
    pub cancelled: AtomicUsize,
}

/// A backend: a tonic server.
pub struct Backend {
    pub name: &'static str,
    pub addr: SocketAddr,
    pub seen: Arc<Seen>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Backend {
    pub fn new(name: &'static str, addr: SocketAddr) -> Self {
        Self { name, addr, seen: Arc::default(), running: None }
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::SeqCst)
    }

    pub fn start(&mut self) -> std::io::Result<()> {
        let incoming = TcpIncoming::bind(self.addr)?.with_nodelay(Some(true));
        let echo = Echo { name: self.name, seen: Arc::clone(&self.seen) };
        let service = wire::echo_server::EchoServer::new(echo)
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(LARGEST);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            let router = Server::builder().add_service(service);
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, stopped).await {
                eprintln!("backend: {error}");
            }
        });
        self.running = Some((stop, task));
        Ok(())
    }

    /// Goes away as tonic does: no new connections, GOAWAY on those that stand, calls under way finish.
    pub async fn stop(&mut self) {
        if let Some((stop, task)) = self.running.take() {
            drop(stop);
            drop(task.await);
        }
    }
}

struct Echo {
    name: &'static str,
    seen: Arc<Seen>,
}

/// Answers the metadata that came.
fn metadata(asked: &MetadataMap) -> MetadataMap {
    let mut answered = MetadataMap::new();
    if let Some(value) = asked.get("x-asked") {
        answered.insert("x-answered", value.clone());
    }
    if let Some(value) = asked.get_bin("x-asked-bin") {
        answered.insert_bin("x-answered-bin", value.clone());
    }
    answered
}

fn status(code: i32, asked: &MetadataMap) -> Option<Status> {
    let code = Code::from_i32(code);
    (code != Code::Ok).then(|| {
        let details = tonic::codegen::Bytes::from_static(DETAILS);
        Status::with_details_and_metadata(code, MESSAGE, details, metadata(asked))
    })
}

/// Counts a call that is dropped before it has come to its end.
struct Unless(Arc<Seen>, bool);

impl Drop for Unless {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Echo {
    fn begin<T>(&self, request: Request<T>) -> (MetadataMap, Unless, T) {
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        let (asked, _, message) = request.into_parts();
        (asked, Unless(Arc::clone(&self.seen), false), message)
    }

    fn answer(&self, payload: Vec<u8>, count: u32) -> Answer {
        Answer { backend: self.name.to_owned(), payload, count }
    }
}

/// A stream that notices when it is dropped before its end.
pub struct Answers(ReceiverStream<Result<Answer, Status>>, Unless);

impl Stream for Answers {
    type Item = Result<Answer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.0).poll_next(cx);
        if let Poll::Ready(None | Some(Err(_))) = &next {
            self.1.1 = true;
        }
        next
    }
}

/// Messages that wait for a client that does not read.
const AHEAD: usize = 4;

#[tonic::async_trait]
impl wire::echo_server::Echo for Echo {
    async fn unary(&self, request: Request<Ask>) -> Result<Response<Answer>, Status> {
        let (asked, mut unless, ask) = self.begin(request);
        if ask.hold {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        unless.1 = true;
        if let Some(status) = status(ask.code, &asked) {
            return Err(status);
        }
        let mut response = Response::new(self.answer(ask.payload, 1));
        *response.metadata_mut() = metadata(&asked);
        Ok(response)
    }

    type SplitStream = Answers;

    async fn split(&self, request: Request<Ask>) -> Result<Response<Answers>, Status> {
        let (asked, unless, ask) = self.begin(request);
        let (send, receive) = mpsc::channel(AHEAD);
        let answer = self.answer(ask.payload, 0);
        let mut response = Response::new(Answers(ReceiverStream::new(receive), unless));
        *response.metadata_mut() = metadata(&asked);
        tokio::spawn(async move {
            for count in 0..ask.count {
                if send.send(Ok(Answer { count, ..answer.clone() })).await.is_err() {
                    return;
                }
            }
            if ask.hold {
                send.closed().await;
            }
            if let Some(status) = status(ask.code, &asked) {
                drop(send.send(Err(status)).await);
            }
        });
        Ok(response)
    }

    async fn collect(&self, request: Request<Streaming<Ask>>) -> Result<Response<Answer>, Status> {
        let (asked, mut unless, mut messages) = self.begin(request);
        let (mut payload, mut count, mut code) = (Vec::new(), 0, 0);
        while let Some(ask) = messages.message().await? {
            payload.extend_from_slice(&ask.payload);
            (count, code) = (count + 1, ask.code);
        }
        unless.1 = true;
        if let Some(status) = status(code, &asked) {
            return Err(status);
        }
        let mut response = Response::new(self.answer(payload, count));
        *response.metadata_mut() = metadata(&asked);
        Ok(response)
    }

    type TalkStream = Answers;

    async fn talk(&self, request: Request<Streaming<Ask>>) -> Result<Response<Answers>, Status> {
        let (asked, unless, mut messages) = self.begin(request);
        let (send, receive) = mpsc::channel(AHEAD);
        let name = self.name;
        let mut response = Response::new(Answers(ReceiverStream::new(receive), unless));
        *response.metadata_mut() = metadata(&asked);
        tokio::spawn(async move {
            let mut count = 0;
            let mut code = 0;
            loop {
                let next = match messages.message().await {
                    Ok(Some(ask)) => {
                        (count, code) = (count + 1, ask.code);
                        Ok(Answer { backend: name.to_owned(), payload: ask.payload, count })
                    }
                    Ok(None) => match status(code, &asked) {
                        Some(status) => Err(status),
                        None => return,
                    },
                    Err(status) => Err(status),
                };
                let is_last = next.is_err();
                if send.send(next).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(response)
    }
}
