//! `bench-pingora FRONT ORIGIN…`: HTTP/1.1 on FRONT, round robin over the origins, one thread, no log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct RoundRobin {
    origins: Vec<String>,
    next: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for RoundRobin {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.origins.len();
        Ok(Box::new(HttpPeer::new(self.origins[at].as_str(), false, String::new())))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let front = arguments.next().expect("FRONT ORIGIN…");
    if front == "--version" {
        println!("pingora-proxy 0.9.1");
        return;
    }
    let origins: Vec<String> = arguments.collect();
    assert!(!origins.is_empty(), "no origin");
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: 2048,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let inner = RoundRobin { origins, next: AtomicUsize::new(0) };
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), inner);
    service.add_tcp(&front);
    server.add_service(service);
    server.run_forever();
}
