//! The one thread that pages are made on.
//!
//! Not the control thread, which has pools and checks to run; and not the blocking pool's threads, because malloc keeps
//! for each thread what it once needed, and there are many of them: the pool takes them in turn. So all pages, and all
//! pieces of long ones, wait for each other here. Each takes some milliseconds at most; whoever waits for a client waits
//! elsewhere.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Never entered: used for its pool of blocking threads, which starts its one thread when there is something to do and
/// ends it after ten idle seconds.
#[expect(clippy::expect_used, reason = "without drivers it takes nothing from the system")]
static THREAD: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(1).thread_name("admin-pages");
    builder.build().expect("a runtime without drivers")
});

/// Does `work` there, after what was ordered before. It is an error when it panics.
pub(super) fn render<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    THREAD.spawn_blocking(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_done_on_one_thread_even_after_a_panic() {
        let thread = || std::thread::current().id();
        let first = render(thread).await.unwrap();
        assert!(render(|| panic!("as the test wants it")).await.is_err());
        let others: Vec<_> = (0..10).map(|_| render(thread)).collect();
        for other in others {
            assert_eq!(other.await.unwrap(), first);
        }
    }
}
