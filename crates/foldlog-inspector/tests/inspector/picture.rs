//! A picture for the README: this repository's own history in the inspector.

use std::path::Path;
use std::process::Command;

use foldlog_inspector::Inspector;

use crate::browser::{Browser, Look, kept};

/// `cargo test -p foldlog-inspector -- --ignored picture` writes docs/inspector.png anew.
#[test]
#[ignore = "writes docs/inspector.png"]
fn picture_of_this_repositorys_history() {
    let Some(browser) = Browser::start() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = kept("picture").join("history.db");
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
    }
    let made = Command::new(std::env::var("CARGO").unwrap())
        .args(["run", "--release", "--quiet", "--example", "git_history", "--", ".", "--db"])
        .arg(&file)
        .current_dir(&root)
        .status()
        .unwrap();
    assert!(made.success());
    let store = foldlog::Store::open_read_only(&file).unwrap();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    browser.enter(&server);
    browser.look(Look { width: 1_280, height: 760, dark: false });
    browser.open(&server, "/a/default/file/README.md");
    browser.wait("return document.readyState === 'complete' && document.querySelector('#vnow') !== null");
    std::fs::write(root.join("docs/inspector.png"), browser.picture()).unwrap();
}
