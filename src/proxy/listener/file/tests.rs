use super::*;
use std::os::unix::net::UnixListener;

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("socket-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir(&dir).unwrap();
    dir
}

fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn a_file_that_came_between_looking_and_removing_goes_back() {
    let dir = dir("between");
    let path = dir.join("a.sock");
    let ours = Identity::of(&dir).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    remove(&path, ours).unwrap();
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(names(&dir), ["a.sock"]);
    remove(&path, Identity::of(&path).unwrap()).unwrap();
    assert!(names(&dir).is_empty());
    drop(theirs);
    fs::remove_dir(&dir).unwrap();
}

#[test]
fn nothing_that_is_there_is_removed_for_a_draft() {
    let dir = dir("draft");
    let path = dir.join("a.sock");
    // What was once the draft's name.
    let precious = dir.join(format!("a.sock.{}", std::process::id()));
    fs::write(&precious, "precious").unwrap();
    let socket = std::cell::RefCell::new(Vec::new());
    let bind = |path: &Path| UnixListener::bind(path).map(|it| socket.borrow_mut().push(it));
    drop(draft(&path, Permissions::default(), bind, || Ok(())).unwrap());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    let all_taken = |_: &Path| Err(io::ErrorKind::AddrInUse.into());
    draft(&path, Permissions::default(), all_taken, || Ok(())).unwrap_err();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn permissions_are_given_before_anybody_can_connect_and_to_no_linked_file() {
    let dir = dir("given");
    let path = dir.join("a.sock");
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
    let permissions = Permissions { mode: Some(0o600), ..Permissions::default() };
    let socket = std::cell::RefCell::new(Vec::new());
    let bind = |path: &Path| UnixListener::bind(path).map(|it| socket.borrow_mut().push(it));
    let seen = std::cell::Cell::new(0);
    let listen = || {
        let draft = dir.join(names(&dir).remove(0));
        seen.set(mode(&draft));
        Ok(())
    };
    drop(draft(&path, permissions, bind, listen).unwrap());
    assert_eq!(seen.get(), 0o600);
    let secret = dir.join("secret");
    fs::write(&secret, "").unwrap();
    let before = mode(&secret);
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    let open = Permissions { mode: Some(0o666 ^ before), ..permissions };
    open.give(&path).unwrap_err();
    assert_eq!(mode(&secret), before);
    fs::remove_dir_all(&dir).unwrap();
}
