//! Every figure that the project promises, measured in one run, each in turn with its floor, printed as one table.
//!
//! `cargo bench --bench figures` takes about eight minutes; `-- --quick` uses smaller files; `-- --only append` measures one
//! part; `-- --json` prints one object, `-- --markdown` a table for a document; `-- --check` fails if a bound is broken.
//!
//! The floor is `benches/support/floor.rs`. Both sides write the same JSON, count the same events, and have the same
//! settings. A line without a floor compares foldlog with itself or with a fixed bound.

mod append;
mod log;
mod many;
mod open;
mod queries;
mod size;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod upcasting;
mod verify;

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use support::floor::Floor;
use support::table::Table;
use support::{median, timed};

/// Measures something: where files may lie, how many events a large one has, where the figures go.
type Part = fn(&Path, u64, &mut Table);

/// The one that measures memory comes first, while the process is small.
const PARTS: [(&str, Part); 12] = [
    ("size", size::size),
    ("open", open::open),
    ("append", append::append),
    ("ids", append::ids),
    ("tags", append::tags),
    ("threads", threads::threads),
    ("snapshots", snapshots::snapshots),
    ("log", log::log),
    ("queries", queries::queries),
    ("many", many::many),
    ("upcasting", upcasting::upcasting),
    ("verify", verify::verify),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let directory = tempfile::tempdir().unwrap();
    Floor::prove(directory.path());
    // `cargo test --benches` runs this too; it measures nothing then.
    if has("--test") {
        return;
    }
    let events = if has("--quick") { 100_000 } else { 1_000_000 };
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1).map(String::as_str);
    let mut lines = Table::default();
    settings(directory.path(), &mut lines);
    for (name, part) in PARTS {
        if only.is_none_or(|only| only == name) {
            eprintln!("measuring {name} …");
            let directory = tempfile::tempdir_in(&directory).unwrap();
            part(directory.path(), events, &mut lines);
        }
    }
    lines.print_and_check(&arguments);
}

fn settings(directory: &Path, lines: &mut Table) {
    lines.setting("SQLite", rusqlite::version());
    lines.setting("both sides", "WAL, pages of 4,096 B, cache 6 MiB, checkpoint at 4,000 pages, one connection writes");
    lines.setting("durable, fast", "synchronous FULL, NORMAL");
    lines.setting("cores", std::thread::available_parallelism().map_or(0, usize::from));
    let mut file = std::fs::File::create(directory.join("synced")).unwrap();
    let mut sync = || {
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&[7; 4_096]).unwrap();
        timed(|| file.sync_data().unwrap()).as_secs_f64() * 1e6
    };
    let mut times: Vec<f64> = (0..101).map(|_| sync()).collect();
    lines.setting("fdatasync of 4 KB, median", format!("{:.0} µs", median(&mut times)));
}
