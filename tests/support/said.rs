//! What a program says on its standard error.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long what is left is read after the end of the program: a child of its own may hold the pipe for longer.
const REST: Duration = Duration::from_secs(5);

/// Read as it comes.
pub(crate) struct Said {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Said {
    /// Of a program whose standard error is a pipe.
    pub(crate) fn by(child: &mut Child) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let pipe = child.stderr.take().expect("piped");
        let reader = Some(tokio::spawn(collect(pipe, Arc::clone(&text))));
        Self { text, reader }
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.text.lock().expect("no panic").clone()
    }

    /// After the program's end: waits until all has been read.
    pub(crate) async fn rest(&mut self) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        if let Ok(read) = timeout(REST, reader).await {
            read.expect("the reader does not panic");
        }
    }
}

async fn collect(pipe: ChildStderr, into: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut text = into.lock().expect("no panic");
        text.push_str(&line);
        text.push('\n');
    }
}
