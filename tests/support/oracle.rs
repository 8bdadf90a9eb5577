//! haproxy itself, configured like the service under test: what it does is what must be done.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::lab::Lab;
use super::wait::eventually;

/// Panics with the line to type when a program of the operating system is missing.
pub(crate) fn need(program: &str, package: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file());
    assert!(found, "{program} is not installed: apt-get install {package} (or run scripts/test)");
}

/// A running haproxy with one thread.
pub(crate) struct Oracle {
    _child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
}

impl Oracle {
    /// Starts haproxy with one proxy: `lines` and `server NAME ADDR OPTIONS` for each server.
    pub(crate) async fn start(
        lab: &Lab,
        mode: &str,
        lines: &[&str],
        servers: &[(&str, SocketAddr, &str)],
    ) -> Self {
        let addr = lab.free_addr();
        let mut text = format!(
            "global\n nbthread 1\n maxconn 1000\ndefaults\n timeout connect 1s\n timeout client 30s\n \
             timeout server 30s\n timeout check 1s\n retries 3\n option redispatch\n \
             balance roundrobin\nlisten it\n bind {addr}\n mode {mode}\n"
        );
        for line in lines {
            text.push_str(&format!(" {line}\n"));
        }
        for (name, at, options) in servers {
            text.push_str(&format!(" server {name} {at} {options}\n"));
        }
        Self::start_text(lab, &text, addr).await
    }

    /// Starts haproxy with this configuration, which listens on `addr`.
    pub(crate) async fn start_text(lab: &Lab, text: &str, addr: SocketAddr) -> Self {
        need("haproxy", "haproxy");
        let file = lab.write("oracle.cfg", text);
        let child = Command::new("haproxy")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
            .args(["-db", "-q", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start haproxy");
        eventually("haproxy listens", Duration::from_secs(10), || {
            tokio::net::TcpStream::connect(addr)
        })
        .await;
        Self { _child: child, addr }
    }
}

/// A running nginx with one process, forwarding everything to one origin.
pub(crate) struct Nginx {
    _child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
}

impl Nginx {
    /// Starts it.
    pub(crate) async fn start(lab: &Lab, origin: SocketAddr) -> Self {
        need("nginx", "nginx-light");
        let addr = lab.free_addr();
        let dir = lab.dir().join("nginx");
        std::fs::create_dir_all(&dir).expect("a directory for nginx");
        let at = dir.display();
        let text = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; keepalive_timeout 2s; client_header_timeout 2s;\n\
             upstream origin {{ server {origin} max_fails=0; keepalive 8; }}\n\
             server {{ listen {addr}; location / {{ proxy_pass http://origin; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_request_buffering off;\n\
             proxy_connect_timeout 1s; proxy_read_timeout 3s;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n"
        );
        let file = lab.write("nginx.conf", &text);
        let child = Command::new("nginx")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start nginx");
        eventually("nginx listens", Duration::from_secs(10), || {
            tokio::net::TcpStream::connect(addr)
        })
        .await;
        Self { _child: child, addr }
    }
}
