//! Pages that come in pieces.

use std::time::Duration;

use super::*;

/// A server with so many services that `/metrics` has many pieces, and the first of them.
async fn start_big(services: usize) -> (Server, Arc<crate::proxy::Service>) {
    let state = fixture::state();
    let services = fixture::big(services);
    let service = Arc::clone(&services[0].service);
    state.services.store(Arc::new(services));
    (start(state).await, service)
}

/// Puts the chunks of a body together; fails when the last one is missing.
fn dechunked(mut body: &str) -> String {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let (chunk, rest) = rest.split_at(size);
        text.push_str(chunk);
        body = rest.strip_prefix("\r\n").unwrap();
        if size == 0 {
            assert_eq!(body, "");
            return text;
        }
    }
}

#[tokio::test]
async fn a_short_page_has_a_length_and_a_long_one_comes_in_chunks() {
    let server = start(fixture::state()).await;
    let (_, head, body) = server.ask("GET", "/metrics", "").await;
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let (server, _) = start_big(20).await;
    let (status, head, body) = server.ask("GET", "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    promtool(&dechunked(&body));
}

#[tokio::test]
async fn head_of_a_long_page_has_no_body_and_keeps_the_connection() {
    let (server, _) = start_big(20).await;
    let (status, head, body) = server.ask("HEAD", "/metrics", "").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(!head.contains("content-length"), "{head}");
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let requests = "HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n\
                    GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.ends_with("\r\n\r\nok\n"), "{answers}");
}

#[tokio::test]
async fn http_1_0_reads_a_long_page_until_the_end_of_the_connection() {
    let (server, _) = start_big(20).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = "GET /metrics HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(!head.contains("chunked"), "{head}");
    promtool(body);
}

/// Services with 20 MB of metrics. The largest buffers of Linux' defaults are 4 MB to send and 6 MB to receive.
const MORE_THAN_SOCKETS_HOLD: usize = 500;

/// A client that has read the beginning of a long page.
async fn half_read(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    stream
}

#[tokio::test]
async fn what_a_scrape_holds_goes_with_its_client() {
    let (server, service) = start_big(MORE_THAN_SOCKETS_HOLD).await;
    let before = Arc::strong_count(&service);
    let stream = half_read(&server).await;
    assert!(Arc::strong_count(&service) > before);
    assert_eq!(server.get("/live").await, (200, "ok\n".into()), "others are served");
    drop(stream);
    is_let_go(&service, before).await;
}

/// Waits until no scrape holds `service` any more.
async fn is_let_go(service: &Arc<crate::proxy::Service>, before: usize) {
    let gone = async {
        while Arc::strong_count(service) > before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(client::WRITE_TIMEOUT + Duration::from_secs(15), gone).await.unwrap();
}

#[tokio::test]
async fn a_client_that_stops_reading_is_let_go() {
    let (server, service) = start_big(MORE_THAN_SOCKETS_HOLD).await;
    let before = Arc::strong_count(&service);
    let mut stream = half_read(&server).await;
    is_let_go(&service, before).await;
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).await;
    assert!(ended.is_err() || !rest.ends_with(b"\r\n0\r\n\r\n"), "no whole page");
}
