//! `heartbeat_path`: a file whose time stamp shows that nerve's main loop lives. Watchdogs restart a nerve whose file is
//! older than a minute (Yelp's tooling), so it is touched every second and by nothing but the loop that does the work:
//! a reload, a registry that hangs or a slow check do not stop it, a stuck loop does.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

/// Between two touches. The original touches at least every 10 s.
const EVERY: Duration = Duration::from_secs(1);

/// Touches `path` for ever. A file that cannot be touched is told once, and again when that changes; the original dies.
pub(super) async fn beat(path: PathBuf) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble: Option<String> = None;
    loop {
        ticks.tick().await;
        let file = path.clone();
        let touched = tokio::task::spawn_blocking(move || touch(&file)).await;
        let now = match touched {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic.to_string()),
        };
        if now != trouble {
            let path = path.display();
            match &now {
                Some(error) => tracing::error!(%path, error, "the heartbeat cannot be touched"),
                None => tracing::info!(%path, "the heartbeat is touched again"),
            }
            trouble = now;
        }
    }
}

fn touch(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_and_its_time_moves() {
        let name = format!("nerve-heartbeat-{}-{:x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        touch(&path).unwrap();
        let old = SystemTime::now() - Duration::from_secs(100);
        OpenOptions::new().write(true).open(&path).unwrap().set_modified(old).unwrap();
        touch(&path).unwrap();
        let age = std::fs::metadata(&path).unwrap().modified().unwrap().elapsed();
        std::fs::remove_file(&path).unwrap();
        assert!(age.is_ok_and(|age| age < Duration::from_secs(50)));
        assert!(touch(Path::new("/nonexistent/heartbeat")).is_err());
    }
}
