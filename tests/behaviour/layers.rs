//! The layers of `src`, as ARCHITECTURE.md draws them: imports run downward, and only the engine below the seam knows SQLite.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom to the top. A layer uses itself and what stands before it.
const LAYERS: [&str; 16] = [
    "model",
    "metrics",
    "options",
    "sync",
    "trace",
    "storage",
    "sqlite",
    "engine",
    "log",
    "state",
    "maintenance",
    "delivery",
    "transfer",
    "store",
    "prometheus",
    "testing",
];

/// Where a user's own SQL passes through: the statements of a `ReadModel`.
const READ_MODELS: [&str; 5] =
    ["delivery/projection/mod.rs", "engine/delivery.rs", "lib.rs", "store/read_models.rs", "testing/projected.rs"];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src")
}

/// Each source file with its path below `src` and its code without comments.
pub fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(src()).expect("it is below src").to_string_lossy().replace('\\', "/");
                let text = fs::read_to_string(&path).expect("a source file");
                let code = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
                found.push((name, code));
            }
        }
    }
    found
}

fn layer(name: &str) -> Option<usize> {
    let first = name.split('/').next().unwrap_or(name).trim_end_matches(".rs");
    LAYERS.iter().position(|layer| *layer == first)
}

#[test]
fn imports_run_downward() {
    let mut upward = Vec::new();
    let mut imports = 0;
    for (name, code) in sources().iter().filter(|(name, _)| !["lib.rs", "guide.rs"].contains(&name.as_str())) {
        let own = layer(name).unwrap_or_else(|| panic!("src/{name} is in no layer: add it here and in ARCHITECTURE.md"));
        for path in code.split("crate::").skip(1) {
            let word: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // What is not a module is exported by lib.rs, which the kit for tests and the documentation's links may use.
            let Some(used) = layer(&word) else { continue };
            imports += 1;
            if used > own {
                upward.push(format!("src/{name} uses {word}"));
            }
        }
    }
    assert!(imports > 100, "only {imports} imports were found");
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn only_the_engine_knows_sqlite() {
    let mut above = Vec::new();
    for (name, code) in sources() {
        if name.starts_with("sqlite/") {
            continue;
        }
        if code.contains("rusqlite") && !READ_MODELS.contains(&name.as_str()) {
            above.push(format!("src/{name} names rusqlite"));
        }
        if code.contains("crate::sqlite") && !name.starts_with("engine/") {
            above.push(format!("src/{name} uses the engine without the seam"));
        }
    }
    assert!(above.is_empty(), "{above:#?}");
}
