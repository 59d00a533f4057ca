//! What measuring costs: a fast-mode append of one event, and a replay from a snapshot with 20 events after it.
//!
//!     cargo bench --bench metrics                       without a recorder, and with the Prometheus recorder
//!     sh benches/metrics.sh                             both of these against a build with metrics compiled out
//!
//! Not criterion: what is looked for is a difference of a few per cent, and two runs one after the other differ by more
//! than that on a busy machine. So the variants take turns, each in a process of its own, and each round gives its own
//! ratios. Of a round's blocks of calls the first decile counts: other work on the machine, checkpoints and page faults
//! make a block slower, and nothing makes one faster.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use foldlog::{Aggregates, Durability, Expected, NewEvent, Options, SnapshotPolicy, SnapshotReason, Store};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use serde_json::{Value, json};

/// Calls in a block: short enough to fit between two interruptions on a busy machine.
const BLOCK: u32 = 20;
const BLOCKS: usize = 400;
const ROUNDS: usize = 15;

struct Bench {
    store: Store,
    accounts: Aggregates<Value>,
    version: u64,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options::new().durability(Durability::Fast).snapshots(SnapshotPolicy::manual());
        let store = options.open(directory.path().join("bench.db")).expect("a store");
        let accounts = store.json_aggregates("account").fold_with("count", 1, |state, _, data| {
            state["n"] = data["n"].clone();
            Ok(())
        });
        store.append("account", "replayed", Expected::Any, (0..100).map(event)).expect("events");
        accounts.create_snapshot("replayed", SnapshotReason::Manual).expect("a snapshot");
        store.append("account", "replayed", Expected::Any, (0..20).map(event)).expect("events");
        Bench { store, accounts, version: 0, _directory: directory }
    }

    fn append(&mut self) {
        self.store.append("account", "appended", self.version, [event(self.version)]).expect("an append");
        self.version += 1;
    }

    fn replay(&self) {
        black_box(self.accounts.replay("replayed").expect("a replay"));
    }
}

fn event(n: u64) -> NewEvent {
    let data = json!({"n": n, "owner": "Ada Lovelace", "cents": 12_345, "note": "an event of usual size, about 180 bytes in all",
        "branch": "London", "channel": "mobile", "reference": "0190b3f1-7c1e"});
    NewEvent::new("Deposited", &data).expect("an event")
}

/// Nanoseconds per call, at the first decile of short blocks: [append, replay].
type Figures = [f64; 2];

fn per_call(mut call: impl FnMut()) -> f64 {
    let started = Instant::now();
    (0..BLOCK).for_each(|_| call());
    started.elapsed().as_secs_f64() * 1e9 / f64::from(BLOCK)
}

fn quantile(figures: &mut [f64], part: usize) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / part).copied().unwrap_or(f64::NAN)
}

/// One variant's round: fresh file, warmed up.
fn round(recorder: Option<&PrometheusRecorder>) -> Figures {
    let mut bench = Bench::new();
    let mut measure = || {
        let mut blocks = <[Vec<f64>; 2]>::default();
        for _ in 0..BLOCKS {
            blocks[0].push(per_call(|| bench.append()));
            blocks[1].push(per_call(|| bench.replay()));
        }
        // The first tenth of the blocks was the warm-up.
        blocks.map(|mut blocks| quantile(&mut blocks.split_off(BLOCKS / 10), 10))
    };
    match recorder {
        Some(recorder) => metrics::with_local_recorder(recorder, measure),
        None => measure(),
    }
}

fn round_with_prometheus() -> Figures {
    let recorder = foldlog::metrics::buckets()
        .fold(PrometheusBuilder::new(), |builder, (name, bounds)| {
            builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds).expect("bounds")
        })
        .build_recorder();
    let handle = recorder.handle();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            handle.run_upkeep();
        }
    });
    round(Some(&recorder))
}

/// A round in a process of its own.
fn elsewhere(executable: &Path, variant: &str) -> Figures {
    let output = Command::new(executable).args(["--round", variant]).output().expect("the benchmark runs itself");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut figures = text.split_whitespace().filter_map(|word| word.parse().ok());
    [figures.next().expect("a figure"), figures.next().expect("a figure")]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    // `cargo test` runs benches too, to see that they work.
    if arguments.iter().any(|argument| argument == "--test") {
        let mut bench = Bench::new();
        bench.append();
        return bench.replay();
    }
    if let Some(variant) = after("--round") {
        let figures = if variant == "prometheus" { round_with_prometheus() } else { round(None) };
        return println!("{} {}", figures[0], figures[1]);
    }
    let this = std::env::current_exe().expect("the path of this program");
    let mut variants: Vec<(&str, PathBuf, &str)> = Vec::new();
    if let Some(other) = after("--against") {
        variants.push(("compiled out", other.into(), "none"));
    }
    variants.push(("no recorder", this.clone(), "none"));
    variants.push(("prometheus", this, "prometheus"));
    let mut columns: Vec<[Vec<f64>; 2]> = vec![Default::default(); variants.len()];
    for _ in 0..ROUNDS {
        for ((_, executable, variant), column) in variants.iter().zip(&mut columns) {
            let figures = elsewhere(executable, variant);
            column[0].push(figures[0]);
            column[1].push(figures[1]);
        }
    }
    for (operation, title) in ["append, 1 event, fast", "replay, snapshot + 20"].into_iter().enumerate() {
        print!("{title:<22}");
        for ((name, ..), column) in variants.iter().zip(&columns) {
            // Each round's own ratio: what slows the machine down slows both sides of it.
            let mut ratios: Vec<f64> = column[operation].iter().zip(&columns[0][operation]).map(|(a, b)| a / b).collect();
            let percent = (quantile(&mut ratios, 2) - 1.0) * 100.0;
            print!("   {name} {:6.2} µs ({percent:+.1} %)", quantile(&mut column[operation].clone(), 2) / 1e3);
        }
        println!();
    }
}
