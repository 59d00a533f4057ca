//! The figures of delivery: projections beside a bare rusqlite loop, latencies, an idle follower, appends in a rebuild.
//!
//! `cargo bench --bench delivery` takes about two minutes; `-- --quick` uses fewer events; `-- --only follow` measures one
//! part; `-- --json` prints one object; `-- --check` fails if a bound is broken.

mod support;

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use foldlog::rusqlite::params;
use foldlog::{Durability, Expected, HandlerError, Projection, ReadModel, RecordedEvent, StartFrom, Store};
use serde::Deserialize;
use support::floor::{Floor, Indexes};
use support::table::Table;
use support::{fill_floor_interleaved, fill_interleaved, in_turn, median, new_event, options, order_id, pair, timed};

type Part<'a> = &'a dyn Fn(&Path, u64, &mut Table);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1).map(String::as_str);
    if let Some(path) = after("--follow-and-report") {
        return follow_and_report(Path::new(path));
    }
    // `cargo test --benches` runs this too; it measures nothing then.
    if has("--test") {
        return;
    }
    let events = if has("--quick") { 20_000 } else { 100_000 };
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::default();
    let parts: [(&str, Part<'_>); 6] = [
        ("inline", &inline),
        ("follow", &following),
        ("rebuild", &rebuilding),
        ("latency", &latency),
        ("idle", &idle),
        ("beside", &beside_a_rebuild),
    ];
    for (name, part) in parts {
        if after("--only").is_none_or(|only| only == name) {
            eprintln!("measuring {name} …");
            part(directory.path(), events, &mut table);
        }
    }
    table.print_and_check(&arguments);
}

/// One row for each order: how many events, and the sum of what was paid.
struct Totals {
    table: String,
    create: String,
    upsert: String,
}

#[derive(Deserialize)]
struct Amount {
    #[serde(default)]
    amount_cents: i64,
}

const COLUMNS: &str = "(order_id TEXT PRIMARY KEY, events INTEGER NOT NULL, paid_cents INTEGER NOT NULL) STRICT, WITHOUT ROWID";
const UPSERT: &str =
    "VALUES (?1, 1, ?2) ON CONFLICT DO UPDATE SET events = events + 1, paid_cents = paid_cents + excluded.paid_cents";

impl Totals {
    fn new(table: &str) -> Totals {
        let create = format!("CREATE TABLE {{{table}}} {COLUMNS}");
        Totals { table: table.to_owned(), create, upsert: format!("INSERT INTO {{{table}}} {UPSERT}") }
    }
}

impl Projection for Totals {
    fn name(&self) -> &str {
        &self.table
    }

    fn tables(&self) -> Vec<String> {
        vec![self.table.clone()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch(&self.create)?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let amount: Amount = event.data.parse()?;
        model.execute(&self.upsert, params![&*event.aggregate_id, amount.amount_cents])?;
        Ok(())
    }
}

/// Appends of 100 events in one transaction, with and without a projection that writes one row for each.
fn inline(directory: &Path, _: u64, table: &mut Table) {
    let with = options(Durability::Fast).open(directory.join("with.db")).unwrap();
    let without = options(Durability::Fast).open(directory.join("without.db")).unwrap();
    with.project_inline(Totals::new("totals")).unwrap();
    let append = |store: &Store, turn: &mut u64| {
        timed(|| {
            for _ in 0..10 {
                *turn += 1;
                let events = (0..100).map(|n| new_event(*turn * 100 + n));
                store.append("order", order_id(*turn % 50), Expected::Any, events).unwrap();
            }
        }) / 10
    };
    let (mut with_turn, mut without_turn) = (0, 0);
    let times = in_turn(101, || append(&with, &mut with_turn), || append(&without, &mut without_turn));
    table.ratio("append of 100 events, fast, with an inline projection of a row for each", times, 2.0);
}

/// A file with events of a thousand orders, taking turns.
fn filled(directory: &Path, name: &str, events: u64) -> PathBuf {
    let path = directory.join(name);
    let store = options(Durability::Fast).open(&path).unwrap();
    fill_interleaved(&store, &vec![events / 1_000; 1_000]);
    path
}

/// What a projection does, as bare rusqlite does it: read a page of whole events, take each, write the checkpoint.
fn bare_loop(floor: &Floor, name: &str, events: u64) -> Duration {
    let connection = &floor.connection;
    connection.execute_batch(&format!("CREATE TABLE {name} {COLUMNS}; INSERT INTO checkpoints VALUES ('{name}', 0)")).unwrap();
    let upsert = format!("INSERT INTO {name} {UPSERT}");
    timed(|| {
        let mut position = 0;
        while position < events {
            floor.transaction(|| {
                let began = Instant::now();
                // As long as the library's transactions are, so that neither has more commits.
                while position < events && began.elapsed() < Duration::from_millis(8) {
                    floor.read(position, 256, |row| {
                        let amount: Amount = serde_json::from_str(&row.data).unwrap();
                        let mut upsert = connection.prepare_cached(&upsert).unwrap();
                        upsert.execute(params![row.aggregate, amount.amount_cents]).unwrap();
                        position = row.position as u64;
                    });
                }
                let mut checkpoint = connection.prepare_cached("UPDATE checkpoints SET position = ?2 WHERE name = ?1").unwrap();
                checkpoint.execute(params![name, position]).unwrap();
            });
        }
    })
}

fn against_bare(directory: &Path, events: u64, what: &str, table: &mut Table, ours: impl Fn(&Store, Totals) -> Duration) {
    let (store, floor) = pair(directory, what, Durability::Fast, Indexes::default());
    let lengths = vec![events / 1_000; 1_000];
    fill_interleaved(&store, &lengths);
    fill_floor_interleaved(&floor, &lengths);
    let checkpoints = "CREATE TABLE checkpoints (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID";
    floor.connection.execute_batch(checkpoints).unwrap();
    let (mut ours_turn, mut bare_turn) = (0, 0);
    let times = in_turn(
        11,
        || {
            ours_turn += 1;
            ours(&store, Totals::new(&format!("totals_{ours_turn}")))
        },
        || {
            bare_turn += 1;
            bare_loop(&floor, &format!("totals_{bare_turn}"), events)
        },
    );
    let rate = |micros: f64| events as f64 * 1e6 / micros;
    table.share(format!("{what}, events of a log of {events}"), (rate(times.0), rate(times.1)), 0.6);
}

fn following(directory: &Path, events: u64, table: &mut Table) {
    against_bare(directory, events, "following projection", table, |store, totals| {
        let runner = store.projection(totals).unwrap();
        timed(|| assert_eq!(runner.run_to_end().unwrap(), events))
    });
}

fn rebuilding(directory: &Path, events: u64, table: &mut Table) {
    against_bare(directory, events, "rebuild", table, |store, totals| {
        let runner = store.projection(totals).unwrap();
        timed(|| assert_eq!(runner.rebuild(|_| ControlFlow::Continue(())).unwrap().events, events))
    });
}

/// From the return of an append to the handler's first line.
fn latency(directory: &Path, _: u64, table: &mut Table) {
    let path = directory.join("latency.db");
    let store = options(Durability::Fast).open(&path).unwrap();
    let (sender, receiver) = mpsc::channel();
    let follower = store
        .subscription("here")
        .follow(move |_| {
            sender.send(SystemTime::now())?;
            Ok(())
        })
        .unwrap();
    let here = waits(&store, 300, Duration::from_millis(3), || receiver.recv().unwrap());
    drop(follower);
    table.value("commit to handler in the process, median", at(&here, 0.5), "ms", 1.0);
    table.note("… 99th percentile", at(&here, 0.99), "ms");

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--follow-and-report".as_ref(), path.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let there = waits(&store, 200, Duration::from_millis(17), || {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(lines.next().unwrap().unwrap().parse().unwrap())
    });
    drop(child.stdin.take());
    child.wait().unwrap();
    table.value("commit to handler in another process, median", at(&there, 0.5), "ms", 20.0);
    table.note("… 99th percentile", at(&there, 0.99), "ms");
}

/// Milliseconds from append to handler, sorted; with uneven pauses, so that no beat is hit.
fn waits(store: &Store, count: u64, pause: Duration, mut handled: impl FnMut() -> SystemTime) -> Vec<f64> {
    let mut waits: Vec<f64> = (0..count)
        .map(|n| {
            std::thread::sleep(pause + Duration::from_micros(n * 7_919 % 13_000));
            store.append("order", "o", Expected::Any, [new_event(n)]).unwrap();
            let committed = SystemTime::now();
            handled().duration_since(committed).unwrap_or_default().as_secs_f64() * 1e3
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    waits
}

/// The figure below which this share of sorted figures lies.
fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// The other process of [`latency`]: follows until its input ends.
fn follow_and_report(path: &Path) {
    let store = options(Durability::Fast).open(path).unwrap();
    let follower = store
        .subscription("there")
        .start_from(StartFrom::Now)
        .follow(|_| {
            println!("{}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos());
            Ok(())
        })
        .unwrap();
    while !follower.is_leading() {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("ready");
    std::io::stdin().lines().for_each(drop);
}

/// The share of a core that a follower uses when nothing comes.
fn idle(directory: &Path, events: u64, table: &mut Table) {
    const SECONDS: f64 = 10.0;
    let store = options(Durability::Fast).open(filled(directory, "idle.db", events)).unwrap();
    let followers = [
        store.subscription("handler").follow(|_| Ok(())).unwrap(),
        store.projection(Totals::new("totals")).unwrap().follow().unwrap(),
    ];
    for name in ["handler", "totals"] {
        store.subscription(name).wait_until(store.last_position().unwrap(), Duration::from_secs(60)).unwrap();
    }
    // They look less and less often; this is when they have come to rest.
    std::thread::sleep(Duration::from_secs(20));
    let before = cpu_seconds();
    std::thread::sleep(Duration::from_secs_f64(SECONDS));
    let Some((before, after)) = before.zip(cpu_seconds()) else {
        eprintln!("SKIPPED: this system does not tell the CPU time of threads");
        return;
    };
    let percent = (after - before) / SECONDS * 100.0 / followers.len() as f64;
    table.value(format!("an idle follower, share of a core over {SECONDS} s"), percent, "%", 0.1);
}

/// CPU time of all threads of the process; /proc/self/stat counts in steps that are too coarse for this.
fn cpu_seconds() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds / 1e9)
}

/// Single appends while nothing else goes on, and while a rebuild does.
fn beside_a_rebuild(directory: &Path, events: u64, table: &mut Table) {
    for (durability, name) in [(Durability::Fast, "fast"), (Durability::Durable, "durable")] {
        let store = options(durability).open(filled(directory, &format!("beside-{name}.db"), events)).unwrap();
        let runner = store.projection(Totals::new("totals")).unwrap();
        runner.run_to_end().unwrap();
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        let (mut rates_beside, mut rates_alone, mut rebuilt) = (Vec::new(), Vec::new(), 0);
        for _ in 0..5 {
            rates_alone.push(appends(&store, Duration::from_secs(1), &mut alone));
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let progress = runner.rebuild(|_| match done.load(Ordering::Relaxed) {
                            true => ControlFlow::Break(()),
                            false => ControlFlow::Continue(()),
                        });
                        rebuilt += progress.unwrap().events;
                    }
                });
                rates_beside.push(appends(&store, Duration::from_secs(1), &mut beside));
                done.store(true, Ordering::Relaxed);
            });
        }
        let rates = (median(&mut rates_beside), median(&mut rates_alone));
        alone.sort_by(f64::total_cmp);
        beside.sort_by(f64::total_cmp);
        table.share(format!("single appends, {name}, while a rebuild goes on"), rates, 0.5);
        let added = (at(&beside, 0.99) - at(&alone, 0.99)).max(0.0);
        table.value(format!("… what it adds to an append's 99th percentile, {name}"), added, "ms", 50.0);
        table.note("… 99th percentile beside it", at(&beside, 0.99), "ms");
        table.note("… 99th percentile alone", at(&alone, 0.99), "ms");
        table.note("… longest beside it", at(&beside, 1.0), "ms");
        table.note("… events of the rebuild", rebuilt as f64 / 5.0, "/s");
    }
}

/// Appends one event after the other for so long; returns how many per second, and notes each one's milliseconds.
fn appends(store: &Store, lasts: Duration, waits: &mut Vec<f64>) -> f64 {
    let started = Instant::now();
    let mut count = 0u64;
    while started.elapsed() < lasts {
        count += 1;
        let event = new_event(count);
        let wait = timed(|| store.append("order", order_id(count % 50), Expected::Any, [event]).unwrap());
        waits.push(wait.as_secs_f64() * 1e3);
    }
    count as f64 / started.elapsed().as_secs_f64()
}
