//! Where log lines go and how they look: stderr, for people or as JSON, never blocking on purpose, never panicking.
//!
//! Set up once, after the configuration is read, because that says the format; what has to be said before goes to
//! stderr as plain text by the binary itself. Lines carry no colours: they are read in journals and files.
//!
//! Level: `SYNAPSE_LOG` (a filter such as `info,smartstack::registry=debug`) if set, else debug when `DEBUG` is set to
//! anything (as the original does), else info.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `2026-01-02T03:04:05.678901Z  INFO backend down service=search backend=a:1`. Default.
    #[default]
    Text,
    /// One JSON object a line: `timestamp`, `level`, `message`, the fields, `target`.
    Json,
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `SYNAPSE_LOG` is no filter.
    #[error("SYNAPSE_LOG={text:?} is not a log filter such as \"info,smartstack::registry=debug\"")]
    Filter {
        /// Its value.
        text: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process logs already.
    #[error("logs are set up already")]
    Taken(#[source] tracing_subscriber::util::TryInitError),
}

/// Comes before every filter, which may say otherwise. The AMQP client calls every broken connection an error of its own; the
/// check that uses it says what there is to say. The `h2` crate warns of clients that misbehave, once for each of their
/// connections: whoever attacks would write our log, on the data path's threads; they are counted instead.
const QUIET: &str = "lapin=off,h2=off";

/// Filter when neither variable is set.
const DEFAULT_FILTER: &str = "info";

/// Filter when `DEBUG` is set: ours in full, the libraries' noise stays out.
const DEBUG_FILTER: &str = "info,smartstack=debug,synapse=debug,nerve=debug,zookeeper_client=debug";

/// Sends the process's log lines to stderr. Call once, after the configuration is read.
///
/// # Errors
/// [`LogError`] when `SYNAPSE_LOG` cannot be read or logs are set up already.
pub fn init(format: Format) -> Result<(), LogError> {
    let filter =
        filter_text(std::env::var("SYNAPSE_LOG").ok(), std::env::var_os("DEBUG").is_some());
    let filter = parsed(&filter).map_err(|source| LogError::Filter { text: filter, source })?;
    subscriber(format, filter, || OneLine(io::stderr())).try_init().map_err(LogError::Taken)
}

fn filter_text(filter: Option<String>, debug: bool) -> String {
    filter
        .filter(|text| !text.trim().is_empty())
        .unwrap_or_else(|| String::from(if debug { DEBUG_FILTER } else { DEFAULT_FILTER }))
}

/// # Errors
/// When `text` is no filter.
fn parsed(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{QUIET},{text}"))
}

/// Keeps an event on its line: names from the registry may contain anything, a line break would forge a log line and an
/// escape sequence would paint on a terminal. JSON escapes for itself and passes unchanged.
#[derive(Debug)]
struct OneLine<W>(W);

impl<W: io::Write> io::Write for OneLine<W> {
    /// Takes a whole event, which is how the formatter writes.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let is_odd = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        if text.iter().any(is_odd) {
            let mut line = Vec::with_capacity(event.len() + 16);
            for byte in text {
                if is_odd(byte) {
                    line.extend(byte.escape_ascii());
                } else {
                    line.push(*byte);
                }
            }
            line.push(b'\n');
            self.0.write_all(&line)?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber<W>(format: Format, filter: EnvFilter, writer: W) -> Subscriber
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // log_internal_errors(false): a closed stderr would otherwise be reported on stderr, with a macro that panics.
    let lines = fmt::Subscriber::builder()
        .with_env_filter(filter)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        Format::Text => Box::new(lines.with_target(false).finish()),
        Format::Json => Box::new(
            lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .finish(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{debug, info};

    #[derive(Clone, Debug, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, filter: &str) -> String {
        said(format, filter, || {
            info!(service = %"search", streak = 3, "backend down");
            debug!("not for everybody");
        })
    }

    fn said(format: Format, filter: &str, say: impl FnOnce()) -> String {
        let lines = Lines::default();
        let target = lines.clone();
        let filter = parsed(filter).unwrap();
        let subscriber = subscriber(format, filter, move || OneLine(target.clone()));
        tracing::subscriber::with_default(subscriber, say);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_client_cannot_write_our_log_unless_somebody_wants_to_see_it() {
        let attack = || tracing::warn!(target: "h2::proto::streams", "too many resets");
        for quiet in ["", DEFAULT_FILTER, DEBUG_FILTER, "debug"] {
            assert_eq!(said(Format::Text, quiet, attack), "", "{quiet}");
        }
        assert_ne!(said(Format::Text, "info,h2=warn", attack), "");
    }

    #[test]
    fn text_has_time_level_message_and_fields() {
        let text = written(Format::Text, "info");
        assert_eq!(text.lines().count(), 1);
        let (time, rest) = text.split_once(' ').unwrap();
        assert_eq!(time.len(), "2026-01-02T03:04:05.678901Z".len(), "{time}");
        assert!(time.ends_with('Z'));
        assert_eq!(rest, " INFO backend down service=search streak=3\n");
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let text = written(Format::Json, "debug");
        assert_eq!(text.lines().count(), 2);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["message"], "backend down");
        assert_eq!(first["service"], "search");
        assert_eq!(first["streak"], 3);
        assert!(first["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_name_cannot_forge_a_line_or_paint() {
        let text = said(Format::Text, "info", || {
            info!(backend = %"a\n2026 ERROR \u{1b}[31m forged ä", "up");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("backend=a\\n2026 ERROR "), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("forged ä"), "{text}");
    }

    #[test]
    fn the_filter_variable_wins_over_debug_and_blank_counts_as_unset() {
        assert_eq!(filter_text(None, false), DEFAULT_FILTER);
        assert_eq!(filter_text(None, true), DEBUG_FILTER);
        assert_eq!(filter_text(Some("warn".into()), true), "warn");
        assert_eq!(filter_text(Some(" ".into()), false), DEFAULT_FILTER);
    }

    #[test]
    fn both_standard_filters_parse() {
        for text in [DEFAULT_FILTER, DEBUG_FILTER] {
            parsed(text).unwrap();
        }
    }
}
