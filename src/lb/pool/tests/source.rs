//! A source that is replaced: the former set stays, and word and policy belong together.

use super::*;

/// Settings of a former source, and of one that makes something else of every word.
fn two() -> (PoolSettings, PoolSettings) {
    let former = settings(Strategy::RoundRobin);
    let membership = MembershipPolicy { port_override: Some(90), ..former.membership.clone() };
    let next = PoolSettings { membership, ..former.clone() };
    (former, next)
}

impl Bench {
    /// As a service does it: the mark, the settings; the new source begins afterwards.
    fn replace_source(&self, former: &PoolSettings, next: &PoolSettings) {
        self.word.send_modify(|word| word.leave_source(&former.membership));
        self.commands.try_send(PoolCommand::Source(Box::new(next.clone()))).unwrap();
    }

    fn view_hosts(&self) -> Vec<String> {
        let view = self.handle.view();
        view.backends.iter().map(|b| b.backend.endpoint.host.to_string()).collect()
    }

    async fn until_shown(&self, wanted: &[&str]) {
        let shown = |view: &PoolView| {
            let all = view.backends.iter().map(|b| b.addr.as_ref().unwrap().to_string());
            all.eq(wanted.iter().map(|addr| (*addr).to_owned()))
        };
        assert!(self.handle.until(shown).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_former_word_is_judged_by_its_own_policy_until_the_new_source_speaks() {
    let (former, next) = two();
    let bench = start(former.clone());
    bench.with(&[("1", "")]).await;
    let before = bench.view(1).backend;
    bench.replace_source(&former, &next);
    let is_told = |view: &PoolView| view.notes.iter().any(|n| n.contains("has not spoken yet"));
    assert!(bench.handle.until(is_told).await);
    bench.until_shown(&["127.0.0.1:80"]).await;
    assert!(Arc::ptr_eq(&before, &bench.view(1).backend));

    // Settings that change once more, and another source that does not speak either.
    let mut last = next.clone();
    last.membership.use_previous_backends = false;
    last.membership.leader_election = true;
    bench.command(last.clone()).await;
    bench.replace_source(&last, &last);
    bench.command(next.clone()).await;
    bench.until_shown(&["127.0.0.1:80"]).await;

    bench.say(&[("2", "")]);
    bench.until_shown(&["127.0.0.2:90"]).await;
    assert!(bench.handle.view().notes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_former_set_stays_as_it_is_when_the_new_source_knows_nobody() {
    for is_seen_before in [true, false] {
        let (former, next) = two();
        let bench = start(former.clone());
        bench.with(&[("1", "")]).await;
        bench.replace_source(&former, &next);
        if is_seen_before {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bench.with(&[]).await;
        assert_eq!(bench.handle.view().origin, SetOrigin::Previous, "{is_seen_before}");
        bench.until_shown(&["127.0.0.1:80"]).await;
        assert_eq!(bench.handle.view().membership_changes, 1, "{is_seen_before}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_stays_is_what_was_in_use_and_not_what_the_former_policy_left_out() {
    let next = settings(Strategy::RoundRobin);
    let membership = MembershipPolicy { leader_election: true, ..next.membership.clone() };
    let former = PoolSettings { membership, ..next.clone() };
    let bench = start(former.clone());
    let candidate = |id: u8| Endpoint { id: Some(id.into()), ..endpoint(&id.to_string(), "") };
    bench.word.send_modify(|word| {
        word.membership = Membership::Known([1, 2].map(candidate).into_iter().collect());
    });
    assert!(bench.handle.until(|view| view.backends.len() == 1).await);
    let before = bench.view_hosts();
    bench.replace_source(&former, &next);
    bench.with(&[]).await;
    assert_eq!(bench.handle.view().origin, SetOrigin::Previous);
    assert_eq!(bench.view_hosts(), before);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_speaks_at_once_is_never_judged_by_the_former_policy() {
    let (former, next) = two();
    let bench = start(former.clone());
    bench.with(&[("1", "")]).await;
    bench.replace_source(&former, &next);
    bench.with(&[("1", "")]).await;
    bench.until_shown(&["127.0.0.1:90"]).await;
    assert_eq!(bench.handle.view().membership_changes, 2);
}

#[tokio::test(start_paused = true)]
async fn before_anybody_has_spoken_the_default_servers_in_force_serve_and_are_nobodys_word() {
    let with_default = |host: Option<&str>| {
        let mut settings = settings(Strategy::RoundRobin);
        settings.membership.default_servers.extend(host.map(|host| endpoint(host, "")));
        settings
    };
    let (one, two, none) = (with_default(Some("1")), with_default(Some("2")), with_default(None));
    let bench = start(one.clone());
    bench.until_shown(&["127.0.0.1:80"]).await;
    bench.replace_source(&one, &two);
    bench.until_shown(&["127.0.0.2:80"]).await;
    // As a service does it: for good.
    bench.word.send_if_modified(|word| word.take_defaults(&two.membership));
    bench.command(none.clone()).await;
    bench.until_shown(&[]).await;
    bench.command(two.clone()).await;
    bench.until_shown(&["127.0.0.2:80"]).await;
    bench.replace_source(&two, &none);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.until_shown(&["127.0.0.2:80"]).await;
    bench.with(&[]).await;
    bench.until_shown(&[]).await;
}
