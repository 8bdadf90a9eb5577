//! How servers are connected to: `send-proxy`, `source`, `interface`, `tcp-ut`, TCP keep-alive; said per server or for the
//! whole backend.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Level, Origin, Tracked};
use super::source::{device, literal_source, source, source_line};
use super::values::{MAX_KEEPALIVE_COUNT, number, seconds, show_time, time};
use crate::config::EffectiveValue;
use crate::dial::header::Form;
use crate::dial::{KeepAlive, Said, Source, Way};
use crate::endpoint::Endpoint;
use crate::lb::ServerSettings;

/// What the words of a server have said.
#[derive(Clone, Debug, Default)]
pub(super) struct WayDraft {
    header: Option<Tracked<Bits>>,
    check_header: Option<Tracked<bool>>,
    source: Option<Tracked<Source>>,
    device: Option<Tracked<Arc<str>>>,
    user_timeout: Option<Tracked<Duration>>,
}

/// What the words about the header have switched on, as haproxy keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bits {
    v1: bool,
    v2: bool,
    ssl: bool,
}

impl Bits {
    /// Whatever is on without version 2 is version 1, as in haproxy: `send-proxy-v2-ssl no-send-proxy-v2`.
    fn form(self) -> Option<Form> {
        match (self.v2, self.ssl) {
            (true, true) => Some(Form::V2Ssl),
            (true, false) => Some(Form::V2),
            (false, ssl) => (self.v1 || ssl).then_some(Form::V1),
        }
    }
}

/// What the lines of a backend say for all its servers.
#[derive(Clone, Debug)]
pub(super) struct BackWay {
    /// `source`, and the device that stands with it.
    pub(super) source: Tracked<Option<(Source, Option<Arc<str>>)>>,
    /// `option srvtcpka`.
    pub(super) keep_alive: Tracked<bool>,
    /// `srvtcpka-idle`.
    pub(super) idle: Tracked<Option<Duration>>,
    /// `srvtcpka-intvl`.
    pub(super) interval: Tracked<Option<Duration>>,
    /// `srvtcpka-cnt`.
    pub(super) count: Tracked<Option<NonZeroU32>>,
}

impl WayDraft {
    /// Takes a word of a server; `None`: it is about something else.
    pub(super) fn apply(
        &mut self,
        keyword: &str,
        value: &str,
        origin: &Origin,
    ) -> Option<Result<(), String>> {
        let flag = |on: bool| Some(Tracked::new(on, origin));
        let said = self.header.as_ref().map(|it| it.value).unwrap_or_default();
        let bits = |change: &dyn Fn(&mut Bits)| {
            let mut bits = said;
            change(&mut bits);
            Some(Tracked::new(bits, origin))
        };
        match keyword {
            "send-proxy" => self.header = bits(&|it| it.v1 = true),
            "no-send-proxy" => self.header = bits(&|it| it.v1 = false),
            "send-proxy-v2" => self.header = bits(&|it| it.v2 = true),
            "no-send-proxy-v2" => self.header = bits(&|it| it.v2 = false),
            "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                self.header = bits(&|it| (it.v2, it.ssl) = (true, true));
            }
            "no-send-proxy-v2-ssl" | "no-send-proxy-v2-ssl-cn" => {
                self.header = bits(&|it| (it.v2, it.ssl) = (false, false));
            }
            "check-send-proxy" => self.check_header = flag(true),
            "no-check-send-proxy" => self.check_header = flag(false),
            "source" => match match origin.level {
                Level::Registration => literal_source(value),
                Level::Default | Level::Shared | Level::Service => source(value),
            } {
                Ok(source) => self.source = Some(Tracked::new(source, origin)),
                Err(error) => return Some(Err(error)),
            },
            "interface" => match device(value) {
                Ok(device) => self.device = Some(Tracked::new(device, origin)),
                Err(error) => return Some(Err(error)),
            },
            "tcp-ut" => match time(value) {
                Ok(time) => self.user_timeout = Some(Tracked::new(time, origin)),
                Err(error) => return Some(Err(error)),
            },
            _ => return None,
        }
        Some(Ok(()))
    }

    /// What it comes to with what `back` says, and what of that the service or the server itself has said.
    pub(super) fn settle(&self, back: &BackWay) -> (Option<Arc<Way>>, Said) {
        fn is_own<T>(it: &Option<Tracked<T>>) -> bool {
            it.as_ref().is_some_and(|it| it.origin.level >= Level::Service)
        }
        let own = self.source.as_ref().map(|it| (it.value.clone(), None));
        let back_source = back.source.value.clone().filter(|_| own.is_none());
        let is_backs = back_source.is_some() && back.source.origin.level >= Level::Service;
        let (source, device) = own.or(back_source).unzip();
        let device = device.flatten();
        let said = Said {
            header: is_own(&self.header),
            check_header: self.check_header.as_ref().is_some_and(|it| it.value),
            source: is_own(&self.source) || is_backs,
            device: is_own(&self.device) || is_backs && device.is_some(),
            user_timeout: is_own(&self.user_timeout),
            keep_alive: back.keep_alive.origin.level >= Level::Service,
        };
        let way = Way {
            header: self.header.as_ref().and_then(|it| it.value.form()),
            source,
            device: self.device.as_ref().map(|it| Arc::clone(&it.value)).or(device),
            user_timeout: self.user_timeout.as_ref().map(|it| it.value).filter(|it| !it.is_zero()),
            keep_alive: back.keep_alive.value.then_some(KeepAlive {
                idle: back.idle.value,
                interval: back.interval.value,
                count: back.count.value,
            }),
        };
        (way.settled(), said)
    }

    /// For `synapse check`: what has been said.
    pub(super) fn origins(&self) -> Vec<EffectiveValue> {
        let said = [
            shown("server.send-proxy", &self.header, |it| {
                it.form().map_or("none", Form::word).to_owned()
            }),
            shown("server.check-send-proxy", &self.check_header, bool::to_string),
            shown("server.source", &self.source, ToString::to_string),
            shown("server.interface", &self.device, ToString::to_string),
            shown("server.tcp-ut", &self.user_timeout, |it| show_time(*it)),
        ];
        said.into_iter().flatten().collect()
    }
}

fn shown<T>(
    setting: &str,
    it: &Option<Tracked<T>>,
    show: impl FnOnce(&T) -> String,
) -> Option<EffectiveValue> {
    it.as_ref().map(|it| value(setting, show(&it.value), &it.origin))
}

fn value(setting: &str, value: String, origin: &Origin) -> EffectiveValue {
    EffectiveValue { setting: setting.to_owned(), value, origin: origin.text.to_string() }
}

impl BackWay {
    /// Nothing is said.
    pub(super) fn new(haproxy: &Origin) -> Self {
        Self {
            source: Tracked::new(None, haproxy),
            keep_alive: Tracked::new(false, haproxy),
            idle: Tracked::new(None, haproxy),
            interval: Tracked::new(None, haproxy),
            count: Tracked::new(None, haproxy),
        }
    }

    /// Takes a line; `None`: it is about something else.
    pub(super) fn apply(
        &mut self,
        keyword: &str,
        args: &[String],
        origin: &Origin,
    ) -> Option<Result<(), String>> {
        let outcome = match (keyword, args) {
            ("source", _) => source_line(args).map(|it| self.source.set(Some(it), origin)),
            ("srvtcpka-idle", [it]) => seconds(it).map(|it| self.idle.set(it, origin)),
            ("srvtcpka-intvl", [it]) => seconds(it).map(|it| self.interval.set(it, origin)),
            ("srvtcpka-cnt", [it]) => {
                let count = number(it, 0..=MAX_KEEPALIVE_COUNT);
                count.map(|it| self.count.set(NonZeroU32::new(it), origin))
            }
            ("srvtcpka-idle" | "srvtcpka-intvl" | "srvtcpka-cnt", _) => {
                Err("one value is expected".to_owned())
            }
            _ => return None,
        };
        Some(outcome)
    }

    /// For `synapse check`: what has been said.
    pub(super) fn origins(&self) -> Vec<EffectiveValue> {
        let mut said = Vec::new();
        if let Some((source, device)) = &self.source.value {
            let device = device.as_ref().map_or_else(String::new, |it| format!(" interface {it}"));
            said.push(value("source", format!("{source}{device}"), &self.source.origin));
        }
        let keep_alive = &self.keep_alive;
        if !keep_alive.value && keep_alive.origin.level >= Level::Service {
            said.push(value("srvtcpka", "none".to_owned(), &keep_alive.origin));
        }
        if keep_alive.value {
            let (idle, interval, count) = (self.idle.value, self.interval.value, self.count.value);
            let shown = KeepAlive { idle, interval, count }.to_string();
            said.push(value("srvtcpka", shown, &self.keep_alive.origin));
        }
        said
    }
}

/// Why no connection can be made to the server, or for its checks, in the way it is to be: that is an address of the other
/// family. What has a name is seen when it is connected to.
pub(in crate::config) fn mismatch(
    endpoint: &Endpoint,
    settings: &ServerSettings,
) -> Option<String> {
    let source = settings.way.as_ref()?.source.as_ref()?;
    let server: Option<IpAddr> = endpoint.host.parse().ok();
    let check = settings.check.as_ref().and_then(|it| it.addr);
    let other =
        [server, check].into_iter().flatten().find(|it| it.is_ipv4() != source.ip.is_ipv4())?;
    Some(format!(
        "`source {source}`: no connection can be made from there to {other}: one is IPv4, one IPv6"
    ))
}
