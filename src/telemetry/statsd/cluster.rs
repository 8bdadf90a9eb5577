//! The originals' name for an ensemble.

/// The `zk_cluster` tag of an ensemble, from its connect string (hosts sorted and joined by `,`): the first host up to the
/// first `.`, without what digits it ends with; the whole host when there are only digits.
///
/// Made for `zk10.example.com:2181`, which becomes `zk`. A host without a domain keeps its port's colon (`localhost:2181`
/// becomes `localhost:`): dashboards know it by that name.
pub fn cluster(ensemble: &str) -> &str {
    // A chroot belongs to the last host in the file, and so may stand here.
    let hosts = ensemble.split(',');
    let first = hosts.min().unwrap_or_default();
    let token = first.split('.').next().unwrap_or_default();
    match token.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "" => first,
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::cluster;

    #[test]
    fn ensembles_have_the_originals_names() {
        for (ensemble, name) in [
            ("zk10.ex.com:2181", "zk"),
            ("zk2.ex.com:2181,zk10.ex.com:2181", "zk"),
            ("b1.ex.com:2181,a1.ex.com:2181", "a"),
            ("zk-main-07.us-east.ex.com:2181", "zk-main-"),
            ("zk1a.ex.com:2181", "zk1a"),
            ("10.0.0.1:2181", "10.0.0.1:2181"),
            ("10.0.0.2:2181,10.0.0.1:2181", "10.0.0.1:2181"),
            ("localhost:2181", "localhost:"),
            ("zk1:2181", "zk1:"),
            ("localhost:2181/chroot", "localhost:2181/chroot"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(cluster(ensemble), name, "{ensemble}");
        }
    }
}
