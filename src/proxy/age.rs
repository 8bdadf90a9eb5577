//! How old a client's connection may become: long-lived connections stay where they began, and new backends get nothing.

use std::time::Duration;

use super::millis::Millis;

/// Part of the age by which each connection's own is shorter or longer, at random: those that came together after an
/// outage must not all come back together. As gRPC's servers do (proposal A9: +/-10 %).
const JITTER: f64 = 0.1;

/// When a connection that began at `now` has its age. Without a limit: never.
pub(crate) fn ends_at(now: Millis, limit: Option<Duration>) -> Millis {
    let Some(limit) = limit else {
        return Millis::NEVER;
    };
    let factor = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
    now.after(Duration::try_from_secs_f64(limit.as_secs_f64() * factor).unwrap_or(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let minute = Some(Duration::from_secs(60));
        let ages: Vec<u64> = (0..1000).map(|_| ends_at(Millis(5), minute).0 - 5).collect();
        assert!(ages.iter().all(|age| (54_000..=66_001).contains(age)));
        let (least, most) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
        assert!(most - least > 6_000, "{least}..{most}");
    }

    #[test]
    fn without_a_limit_there_is_no_end_and_a_huge_one_is_none() {
        assert_eq!(ends_at(Millis(5), None), Millis::NEVER);
        assert_eq!(ends_at(Millis(5), Some(Duration::MAX)), Millis::NEVER);
    }
}
