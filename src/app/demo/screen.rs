//! What the demonstration shows: a live table on a terminal, lines elsewhere.

use std::io::{IsTerminal, Write};

use super::Ports;
use crate::admin::AdminState;
use crate::admin::table::status_table;

/// Events kept on screen.
const EVENTS: usize = 6;

/// Clears the terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// True when somebody looks.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Text on standard output. Owned by the stage.
#[derive(Debug)]
pub(super) struct Screen {
    ports: Ports,
    live: bool,
    events: Vec<String>,
}

impl Screen {
    /// Prints the introduction at once when nobody looks.
    pub(super) fn new(ports: Ports) -> Self {
        let screen = Self { ports, live: is_terminal(), events: Vec::new() };
        if !screen.live {
            write(&screen.introduction());
        }
        screen
    }

    fn introduction(&self) -> String {
        let Ports { http, tcp, admin } = self.ports;
        format!(
            "synapse demo: three backends in an in-memory registry; one dies every few seconds. Ctrl-C ends it.\n\n\
             Try, in another terminal:\n\
             \x20 curl http://127.0.0.1:{http}/                   # HTTP, round robin\n\
             \x20 curl http://127.0.0.1:{tcp}/                   # TCP, least-conn\n\
             \x20 curl http://127.0.0.1:{admin}/services/web       # every backend, and why it is (not) used\n\
             \x20 curl http://127.0.0.1:{admin}/metrics\n\n"
        )
    }

    /// Something happened.
    pub(super) fn event(&mut self, text: String) {
        if !self.live {
            write(&format!("{text}\n"));
        }
        self.events.push(text);
        let surplus = self.events.len().saturating_sub(EVENTS);
        self.events.drain(..surplus);
    }

    /// Draws the table; does nothing when nobody looks.
    pub(super) fn draw(&self, admin: &AdminState, traffic: &str) {
        if self.live {
            let table = status_table(&admin.services.load());
            let events = self.events.join("\n");
            write(&format!("{CLEAR}{}{table}\n{traffic}\n\n{events}\n", self.introduction()));
        }
    }
}

/// A closed standard output ends the show, not the program.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        tracing::debug!("standard output is closed");
    }
}
