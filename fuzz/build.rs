//! Compiles the oracle from the sources that `fuzz/run` has fetched.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=LLHTTP_DIR");
    println!("cargo::rerun-if-changed=oracle/oracle.c");
    let dir = std::env::var_os("LLHTTP_DIR")
        .map(PathBuf::from)
        .expect("LLHTTP_DIR: where llhttp's C sources are; `fuzz/run` fetches them");
    cc::Build::new()
        .include(&dir)
        .file("oracle/oracle.c")
        .files(["api.c", "http.c", "llhttp.c"].map(|name| dir.join(name)))
        .warnings(false)
        .compile("oracle");
}
