//! The reporters' contract.

use super::*;

/// The file for the reporters' contract.
struct InFile {
    scratch: Scratch,
    before: std::sync::Mutex<String>,
}

const FOREIGN: &str = r#"{"host":"a",  "port":1}"#;

impl contract::Rig for InFile {
    fn reporter(&self) -> Box<dyn Reporter> {
        Box::new(FileReporter::new(self.scratch.path(), record("me", 7), ServiceName::new("web")))
    }

    fn count(&self) -> usize {
        self.scratch.hosts().iter().filter(|host| *host == "me").count()
    }

    fn is_others_untouched(&self) -> bool {
        self.scratch.text().contains(FOREIGN)
    }

    fn remove(&self) {
        self.scratch.put(format!("[{FOREIGN}]"));
    }

    fn lose(&self) {
        *self.before.lock().unwrap() = self.scratch.text();
        self.scratch.put("[");
    }

    fn recover(&self) {
        self.scratch.put(self.before.lock().unwrap().as_str());
    }
}

#[tokio::test]
async fn keeps_the_contract_of_reporters() {
    let scratch = Scratch::new();
    scratch.put(format!("[{FOREIGN}]"));
    contract::check(InFile { scratch, before: std::sync::Mutex::default() }).await;
}
