//! What a hundred thousand aggregates cost under the default bound, in memory and in the scrape.

use std::process::Command;

use foldlog::{Batch, Durability, Expected, Options};

use crate::support::{Reader, event, recorder};

const AGGREGATES: usize = 100_000;
const AT_ONCE: usize = 1_000;

/// Two processes do the same work, with and without a recorder; what the first has more is the metrics' share.
#[test]
fn a_hundred_thousand_aggregates_cost_little() {
    let run = |recorded: &str| -> [u64; 2] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "memory::work_in_a_process_of_its_own", "--ignored", "--nocapture"]);
        let output = child.env("FOLDLOG_TEST_RECORDED", recorded).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let figures = text.lines().find_map(|line| line.split_once("resident and scrape: ")).expect("figures").1;
        let mut figures = figures.split(' ').map(|figure| figure.parse().unwrap());
        [figures.next().unwrap(), figures.next().unwrap()]
    };
    let ([without, _], [with, scrape]) = (run("no"), run("yes"));
    let more = with.saturating_sub(without);
    println!("{AGGREGATES} aggregates, every tenth with a conflict: {more} bytes more memory, a scrape of {scrape} bytes");
    assert!(more <= 5_000_000, "{more} bytes more");
    assert!((100_000..1_000_000).contains(&scrape), "a scrape of {scrape} bytes");
}

#[test]
#[ignore = "run by the test above in a process of its own"]
fn work_in_a_process_of_its_own() {
    let recorder = recorder();
    let reader = Reader(recorder.handle());
    if std::env::var("FOLDLOG_TEST_RECORDED").as_deref() == Ok("yes") {
        metrics::with_local_recorder(&recorder, || work(&reader));
    } else {
        work(&reader);
    }
    // The scrape makes garbage of its own; what counts is what stays.
    let resident = resident_bytes();
    println!("resident and scrape: {resident} {}", reader.text().len());
}

fn work(reader: &Reader) {
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Fast).open(directory.path().join("a.db")).unwrap();
    for start in (0..AGGREGATES).step_by(AT_ONCE) {
        let ids = (start..start + AT_ONCE).map(|n| format!("0190b3f1-7c1e-7000-8000-{n:012}"));
        let batch = ids.clone().fold(Batch::new(), |batch, id| batch.append("account", id, Expected::Any, [event("Opened")]));
        store.commit(batch).unwrap();
        for id in ids.step_by(10) {
            store.append("account", &id, 7, [event("Opened")]).unwrap_err();
        }
        // As the exporter's thread does every few seconds.
        reader.0.run_upkeep();
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}
