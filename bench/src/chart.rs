//! The ratios of a run as an SVG: a bar per row and peer, with a mark where the promise ends.

use crate::proxies::Kind;
use crate::series::Series;

/// Pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 300.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 70.0;
const BAR: f64 = 14.0;
const GAP: f64 = 10.0;

/// Ratios beyond are cut off.
const LIMIT: f64 = 2.0;

/// The whole file.
pub(crate) fn svg(cases: &[Series]) -> String {
    let mut y = TOP;
    let mut body = String::new();
    for series in cases {
        let mut is_first = true;
        for (number, peer) in series.peers() {
            let ratio = series.ratio(number, |m| m.cost);
            if is_first {
                body.push_str(&text(8.0, y, "start", "#111", &series.case.name));
            }
            is_first = false;
            body.push_str(&text(LEFT - 8.0, y, "end", "#555", &peer.setup.name()));
            body.push_str(&rect(LEFT, y, x(ratio.median) - LEFT, colour(peer.setup.kind)));
            // From the smallest to the largest round.
            let middle = y + BAR / 2.0;
            body.push_str(&line([x(ratio.min), middle, x(ratio.max), middle], "#222", 1.0));
            let is_kept = peer.goal.is_none_or(|goal| ratio.median <= goal);
            if let Some(goal) = peer.goal {
                body.push_str(&line([x(goal), y - 2.0, x(goal), y + BAR + 2.0], "#c00", 2.5));
            }
            let label = format!("{:.2}{}", ratio.median, if is_kept { "" } else { " missed" });
            let end = x(ratio.median.max(ratio.max).max(peer.goal.unwrap_or(0.0)));
            let ink = if is_kept { "#111" } else { "#c00" };
            body.push_str(&text(end + 6.0, y, "start", ink, &label));
            y += BAR + 4.0;
        }
        if !is_first {
            y += GAP;
        }
    }
    frame(y, &body)
}

/// Background, title and axis around the bars.
fn frame(bottom: f64, body: &str) -> String {
    let mut axis = String::new();
    for step in [0.0, 0.5, 1.0, 1.5, 2.0] {
        let (ink, width) = if step == 1.0 { ("#888", 1.5) } else { ("#ddd", 1.0) };
        axis.push_str(&line([x(step), TOP - 8.0, x(step), bottom], ink, width));
        axis.push_str(&text(x(step), TOP - 26.0, "middle", "#555", &format!("{step:.1}")));
    }
    let title = "synapse's cost (CPU per request, per GB; memory) as a multiple of each peer's: shorter is better";
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
font-family=\"sans-serif\" font-size=\"12\">\n\
<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{title}{legend}{axis}{body}</svg>\n",
        height = bottom + 10.0,
        title = text(8.0, 8.0, "start", "#111", title),
        legend =
            text(8.0, TOP - 26.0, "start", "#c00", "red mark: promised; thin line: all rounds"),
    )
}

fn x(ratio: f64) -> f64 {
    let ratio = if ratio.is_finite() { ratio.clamp(0.0, LIMIT) } else { 0.0 };
    LEFT + (WIDTH - LEFT - RIGHT) * ratio / LIMIT
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Synapse => "#9bd",
        Kind::Before => "#bbb",
        Kind::Haproxy => "#48a",
        Kind::Nginx => "#5a6",
        Kind::Envoy => "#a6c",
        Kind::Pingora => "#d93",
    }
}

fn rect(x: f64, y: f64, width: f64, fill: &str) -> String {
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\n"
    )
}

fn line([x1, y1, x2, y2]: [f64; 4], ink: &str, width: f64) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{ink}\" stroke-width=\"{width}\"/>\n"
    )
}

/// Names and numbers only: nothing to escape.
fn text(x: f64, y: f64, anchor: &str, ink: &str, words: &str) -> String {
    let y = y + BAR - 2.0;
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{ink}\">{words}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measure;
    use crate::proxies::Logs;
    use crate::rows;

    #[test]
    fn every_ratio_has_a_bar_and_every_promise_a_mark() {
        let cases = rows::cases(&[Kind::Haproxy, Kind::Nginx], &[Logs::Udp]);
        let all: Vec<Series> = cases
            .into_iter()
            .map(|case| {
                let costs = (1_u8..).map(f64::from);
                let measures = costs.map(|cost| Measure { cost, ..Measure::default() });
                let rounds = vec![measures.take(case.entrants.len()).collect()];
                Series { case, rounds, first_error: None }
            })
            .collect();
        let svg = svg(&all);
        let peers = || all.iter().flat_map(Series::peers);
        assert_eq!(svg.matches("<rect").count(), 1 + peers().count());
        let goals = peers().filter(|(_, peer)| peer.goal.is_some()).count();
        assert_eq!(svg.matches("stroke=\"#c00\"").count(), goals);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
