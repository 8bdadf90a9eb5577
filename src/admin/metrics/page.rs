//! The page as an iterator of pieces.

use bytes::Bytes;

use crate::telemetry::render::{Exposition, Labels};

use super::backends::{self, BackendFamily};
use super::row::Row;
use super::services::{self, ServiceFamily};

/// A piece is complete once it has this many bytes.
///
/// Many enough that making one outweighs handing it over; a two-hundredth of what ten thousand backends need. Above 128 kB
/// malloc would map and unmap every piece.
const PIECE_BYTES: usize = 64 * 1024;

/// Room for what makes a piece complete: what one service or backend adds to a family (a histogram: 2 kB), or the page's
/// end. A longer name only costs a copy.
const ROOM_BYTES: usize = 8 * 1024;

/// The text of `/metrics`, written as it is read: family by family, service by service, backend by backend.
///
/// Owns what it writes from (some hundred bytes a service, one a backend) and shares the services and views; a piece ends
/// between two of them, so the samples of a histogram are read together.
#[derive(Debug)]
pub struct Page {
    out: Exposition,
    rows: Vec<Row>,
    families: Vec<PageFamily>,
    at: Place,
    /// Labels of the backend at hand: memory that is used again.
    labels: Labels,
    tail: String,
    piece_bytes: usize,
}

/// What is written next.
#[derive(Debug, Default)]
struct Place {
    family: usize,
    row: usize,
    backend: usize,
}

#[derive(Debug)]
enum PageFamily {
    /// Of the services for which something holds.
    Services(fn(&Row) -> bool, &'static ServiceFamily),
    /// Of their backends for which something holds.
    Backends(fn(&Row, usize) -> bool, &'static BackendFamily),
}

impl Page {
    /// `head`, then the families about `rows`.
    pub(super) fn new(head: Exposition, rows: Vec<Row>) -> Self {
        let of_services = services::CHAPTERS.iter().flat_map(|(holds, families)| {
            families.iter().map(|family| PageFamily::Services(*holds, family))
        });
        let of_backends = backends::CHAPTERS.iter().flat_map(|(holds, families)| {
            families.iter().map(|family| PageFamily::Backends(*holds, family))
        });
        Self {
            out: head,
            rows,
            families: of_services.chain(of_backends).collect(),
            at: Place::default(),
            labels: Labels::none(),
            tail: String::new(),
            piece_bytes: PIECE_BYTES,
        }
    }

    /// The same, with `tail` at the end: text in the format, of other families.
    pub(super) fn followed_by(self, tail: String) -> Self {
        Self { tail, ..self }
    }

    /// Writes what comes next; false at the end.
    fn step(&mut self) -> bool {
        let Some(family) = self.families.get(self.at.family) else {
            self.out.append(&std::mem::take(&mut self.tail));
            return false;
        };
        let Some(row) = self.rows.get(self.at.row) else {
            self.at = Place { family: self.at.family + 1, ..Place::default() };
            return true;
        };
        match family {
            PageFamily::Services(holds, (metric, add)) => {
                if holds(row) {
                    add(row, &mut self.out.family(metric));
                }
                self.at.row += 1;
            }
            PageFamily::Backends(holds, (metric, add)) => {
                let mut left = self.at.backend..row.view.backends.len();
                let next = left.find(|index| holds(row, *index));
                match next.and_then(|index| row.backend(index, &mut self.labels)) {
                    Some(backend) => {
                        add(&backend, &mut self.out.family(metric));
                        self.at.backend = left.start;
                    }
                    None => self.at = Place { row: self.at.row + 1, backend: 0, ..self.at },
                }
            }
        }
        true
    }
}

impl Iterator for Page {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.out.written() < self.piece_bytes && self.step() {}
        let piece = self.out.take(PIECE_BYTES + ROOM_BYTES);
        (!piece.is_empty()).then(|| Bytes::from(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::when::Now;
    use crate::admin::{ServiceEntry, fixture, metrics};

    fn page(services: &[ServiceEntry], piece_bytes: usize) -> Page {
        let page = metrics::families(Exposition::new(), services, &[], Now::read());
        let tail = String::from("tail 1\n");
        Page { piece_bytes, ..page }.followed_by(tail)
    }

    fn text(page: Page) -> String {
        String::from_utf8(page.flatten().collect()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_of_any_size_make_the_same_text() {
        let services = fixture::state().services.load_full();
        let whole = text(page(&services, usize::MAX));
        assert!(whole.ends_with("\ntail 1\n"));
        assert_eq!(page(&services, usize::MAX).count(), 1);
        for piece_bytes in [1, 100, 1000, PIECE_BYTES] {
            assert!(text(page(&services, piece_bytes)) == whole, "{piece_bytes}");
        }
    }

    #[tokio::test]
    async fn no_piece_is_larger_than_its_bound_and_only_the_last_is_smaller() {
        let pieces: Vec<_> =
            page(&fixture::big(20), PIECE_BYTES).map(|piece| piece.len()).collect();
        let (last, others) = pieces.split_last().unwrap();
        assert!(others.len() > 10, "{pieces:?}");
        let bound = PIECE_BYTES..=PIECE_BYTES + ROOM_BYTES;
        assert!(others.iter().all(|bytes| bound.contains(bytes)), "{pieces:?}");
        assert!((1..=PIECE_BYTES + ROOM_BYTES).contains(last), "{last}");
    }

    #[tokio::test]
    async fn pieces_end_at_the_end_of_a_line() {
        let services = fixture::big(2);
        assert!(page(&services, 1).all(|piece| piece.ends_with(b"\n")));
    }

    #[tokio::test]
    async fn a_page_of_nothing_ends() {
        let mut page = Page::new(Exposition::new(), Vec::new());
        assert_eq!(page.next(), None);
        assert_eq!(page.next(), None);
    }
}
