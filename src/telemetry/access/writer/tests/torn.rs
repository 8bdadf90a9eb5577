//! Whole lines: what pipes and disks that become full leave of one.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use super::*;

/// Ends of all lines that [`write`] writes.
const END: &str = " \"GET / HTTP/1.1\"";

fn is_whole(line: &str) -> bool {
    line.starts_with("10.0.0.1:4711 [") && line.ends_with(END) && line.matches(END).count() == 1
}

/// Its reader comes now and then: it has whole lines, however many did not fit.
#[tokio::test]
async fn a_pipe_takes_whole_lines_alone() {
    let dir = Dir::new("whole");
    let pipe = dir.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut reader = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(&pipe)
        .unwrap();
    let (writer, log) = (Writer::start(), log_to(vec![file(&pipe)]));
    for _ in 0..3 {
        let before = Loss::File.total();
        write(&writer, &log, 3000).await;
        assert!(Loss::File.total() > before, "more than a pipe holds");
        let mut text = Vec::new();
        // The end of what is there is an error: the writer has it open.
        assert!(reader.read_to_end(&mut text).is_err());
        let text = String::from_utf8(text).unwrap();
        assert!(text.ends_with('\n') && text.len() > 32 * 1024, "{}", text.len());
        assert_eq!(text.lines().find(|line| !is_whole(line)), None);
        // The outage ends with a line.
        write_until(&writer, &log, || (&reader).read(&mut [0; 4096]).is_ok()).await;
    }
}

/// A disk takes what fits: the beginning of a line stays, on a line of its own.
#[tokio::test]
async fn a_full_disk_leaves_the_beginning_of_a_line_and_spoils_no_other() {
    const MARK: &str = "SMARTSTACK_SMALL_DISK";
    if let Some(disk) = std::env::var_os(MARK) {
        return fill(Path::new(&disk)).await;
    }
    let disk = Dir::new("disk");
    // A user namespace of our own gives the right to mount; root needs none.
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let test =
        concat!(module_path!(), "::a_full_disk_leaves_the_beginning_of_a_line_and_spoils_no_other");
    let (_crate, test) = test.split_once("::").unwrap();
    let mount = "mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args([flags, "sh", "-c", mount])
        .arg(disk.path(""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(MARK, disk.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

async fn fill(disk: &Path) {
    let (path, ballast) = (disk.join("log"), disk.join("ballast"));
    std::fs::write(&ballast, [0; 32 * 1024]).unwrap();
    let (writer, log) = (Writer::start(), log_to(vec![file(&path)]));
    write(&writer, &log, 3000).await;
    let full = std::fs::read_to_string(&path).unwrap();
    assert!(!full.ends_with('\n'), "{} bytes are no whole lines", full.len());
    std::fs::remove_file(&ballast).unwrap();
    write_until(&writer, &log, || lines_of(&path) > full.lines().count()).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(&full) && text.ends_with('\n'));
    let torn: Vec<&str> = text.lines().filter(|line| !is_whole(line)).collect();
    assert_eq!(torn, full.lines().last().into_iter().collect::<Vec<_>>());
}
