//! Two pieces of work measured in turn: that is what makes a ratio hold on a machine whose speed drifts.

use std::path::Path;
use std::time::{Duration, Instant};

use super::wal::{FRAME_BYTES, Wal};

/// The middle one of a list of times.
pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Runs two pieces of work in turn, `rounds` times each, and returns their median times in microseconds.
pub fn in_turn(rounds: usize, mut ours: impl FnMut() -> Duration, mut floor: impl FnMut() -> Duration) -> (f64, f64) {
    let [ours, floor] = all_in_turn(rounds, [&mut ours, &mut floor]);
    (ours, floor)
}

/// The same for any number of pieces. Each round begins with another one.
pub fn all_in_turn<const N: usize>(rounds: usize, work: [&mut dyn FnMut() -> Duration; N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..rounds + 1 {
        for turn in 0..N {
            let at = (round + turn) % N;
            let took = work[at]();
            // The first round warms the caches.
            if round > 0 {
                times[at].push(took.as_secs_f64() * 1e6);
            }
        }
    }
    times.map(|mut times| median(&mut times))
}

pub fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

/// An append that is repeated, and the file that it appends to.
pub struct Appender<'a> {
    wal: Wal,
    append: Box<dyn FnMut() + 'a>,
    times: Vec<f64>,
    frames: Vec<f64>,
}

/// What appends of one kind cost: microseconds, and frames of the write-ahead log.
#[derive(Clone, Copy)]
pub struct Cost {
    pub median: f64,
    pub mean: f64,
    pub median_frames: f64,
    pub mean_frames: f64,
}

impl Cost {
    pub fn wal_bytes(&self) -> f64 {
        self.mean_frames * FRAME_BYTES
    }
}

impl<'a> Appender<'a> {
    pub fn new(path: &Path, append: impl FnMut() + 'a) -> Appender<'a> {
        Appender { wal: Wal::of(path), append: Box::new(append), times: Vec::new(), frames: Vec::new() }
    }

    fn run(&mut self, times: usize) {
        for _ in 0..times {
            self.times.push(timed(&mut self.append).as_secs_f64() * 1e6);
            self.frames.push(f64::from(self.wal.written()));
        }
    }

    fn cost(mut self) -> Cost {
        let mean = |figures: &[f64]| figures.iter().sum::<f64>() / figures.len() as f64;
        let (mean_time, mean_frames) = (mean(&self.times), mean(&self.frames));
        Cost { median: median(&mut self.times), mean: mean_time, median_frames: median(&mut self.frames), mean_frames }
    }
}

/// Runs appends of several kinds in turn, `each` of a kind before the next one's turn comes, each timed alone. The first
/// ones, which make aggregates and warm the caches, do not count.
pub fn appends<const N: usize>(warm_up: usize, count: usize, each: usize, mut appenders: [Appender<'_>; N]) -> [Cost; N] {
    for appender in &mut appenders {
        appender.run(warm_up);
        (appender.times, appender.frames) = (Vec::new(), Vec::new());
    }
    for round in 0..count / each {
        (0..N).for_each(|turn| appenders[(round + turn) % N].run(each));
    }
    appenders.map(Appender::cost)
}
