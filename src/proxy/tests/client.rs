//! A client that speaks bytes, and what it reads. Scripted origins speak with one, too.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::PATIENCE;

/// A client that speaks bytes.
pub(super) struct Client(pub(super) TcpStream, pub(super) Vec<u8>);

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n")).await;
        self.answer().await
    }

    /// Reads until `end` is in the buffer; what comes before and with it.
    pub(super) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = find(&self.1, end.as_bytes()) {
                let rest = self.1.split_off(at + end.len());
                let got = std::mem::replace(&mut self.1, rest);
                return String::from_utf8(got).unwrap();
            }
            assert!(
                self.more().await > 0,
                "closed before {end:?}: {:?}",
                String::from_utf8_lossy(&self.1)
            );
        }
    }

    pub(super) async fn more(&mut self) -> usize {
        let mut chunk = vec![0; 65536];
        let n = tokio::time::timeout(PATIENCE, self.0.read(&mut chunk))
            .await
            .expect("nothing came")
            .unwrap();
        self.1.extend_from_slice(&chunk[..n]);
        n
    }

    /// The next answer, framed by length or chunks.
    pub(super) async fn answer(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if let Some(len) = header(&head, "content-length") {
            let len: usize = len.parse().unwrap();
            while self.1.len() < len {
                assert!(self.more().await > 0, "cut");
            }
            let rest = self.1.split_off(len);
            String::from_utf8(std::mem::replace(&mut self.1, rest)).unwrap()
        } else if header(&head, "transfer-encoding").is_some() {
            self.chunks().await
        } else {
            String::new()
        };
        Answer { status, head, body }
    }

    async fn chunks(&mut self) -> String {
        let mut body = String::new();
        loop {
            let size = self.until("\r\n").await;
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            if size == 0 {
                loop {
                    let line = self.until("\r\n").await;
                    if line == "\r\n" {
                        return body;
                    }
                    body.push_str(&line);
                }
            }
            while self.1.len() < size + 2 {
                assert!(self.more().await > 0, "cut");
            }
            let rest = self.1.split_off(size + 2);
            let chunk = std::mem::replace(&mut self.1, rest);
            body.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        }
    }

    /// Everything until the end of the connection; an error counts as one.
    pub(super) async fn rest(&mut self) -> (String, Option<std::io::ErrorKind>) {
        let mut chunk = vec![0; 65536];
        loop {
            match tokio::time::timeout(PATIENCE, self.0.read(&mut chunk)).await.expect("not closed")
            {
                Ok(0) => return (String::from_utf8_lossy(&self.1).into(), None),
                Ok(n) => self.1.extend_from_slice(&chunk[..n]),
                Err(e) => return (String::from_utf8_lossy(&self.1).into(), Some(e.kind())),
            }
        }
    }
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (n, v) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| v.trim())
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

impl Client {
    /// A whole request, `None` at the end of the connection.
    pub(super) async fn request(&mut self) -> Option<String> {
        while find(&self.1, b"\r\n\r\n").is_none() {
            let mut chunk = vec![0; 65536];
            match self.0.read(&mut chunk).await {
                Ok(n @ 1..) => self.1.extend_from_slice(&chunk[..n]),
                _ => return None,
            }
        }
        let head = self.until("\r\n\r\n").await;
        let body = if let Some(len) = header(&head, "content-length") {
            let len: usize = len.parse().unwrap();
            while self.1.len() < len {
                if self.more().await == 0 {
                    return None;
                }
            }
            let rest = self.1.split_off(len);
            String::from_utf8(std::mem::replace(&mut self.1, rest)).unwrap()
        } else if header(&head, "transfer-encoding").is_some() {
            self.chunks().await
        } else {
            String::new()
        };
        Some(head + &body)
    }
}
