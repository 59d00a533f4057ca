//! What the example prints.

use std::fmt;

use foldlog::SnapshotStatistics;
use serde::Serialize;

use crate::story::Story;
use crate::timing::Timing;

/// All figures: printed as text, or as one JSON object.
#[derive(Serialize)]
pub struct Report {
    /// Median replay times.
    pub replay: Vec<Timing>,
    #[serde(flatten)]
    pub story: Story,
    pub snapshots: SnapshotStatistics,
    /// Times of a debug build say nothing about the library.
    pub debug_build: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.replay_times(f)?;
        self.story(f)?;
        self.snapshots(f)
    }
}

impl Report {
    fn replay_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Replay of one account, in µs (medians; \"claim\" is what the original system states for itself)\n")?;
        writeln!(f, "{:>10} {:>14} {:>14} {:>16} {:>14}", "events", "full replay", "claim", "with a snapshot", "claim")?;
        for timing in &self.replay {
            writeln!(
                f,
                "{:>10} {:>14} {:>14} {:>16} {:>14}",
                grouped(timing.events as f64, 0),
                grouped(timing.full_us, 1),
                timing.original_claim_full_us.map_or("-".to_owned(), |us| grouped(us, 0)),
                grouped(timing.snapshot_us, 1),
                timing.original_claim_snapshot_us.map_or("-".to_owned(), |us| grouped(us, 0)),
            )?;
        }
        writeln!(f, "\nWith a snapshot: the newest one and up to 50 events after it.")?;
        if self.debug_build {
            writeln!(f, "This is a debug build: for figures that mean something, run it with --release.")?;
        }
        Ok(())
    }

    fn story(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Story { refusal, conflict, time_travel, audit_trail } = &self.story;
        writeln!(f, "\nRefused by the domain\n  {refusal}")?;
        writeln!(f, "\nVersion conflict\n  {}", conflict.message)?;
        writeln!(f, "\nTime travel")?;
        let time = format!("at {:?}", time_travel.time);
        for (when, seen) in [("at version 1", &time_travel.to_version), (&*time, &time_travel.to_time), ("now", &time_travel.now)]
        {
            let locked = if seen.state.locked_until.is_some() { ", locked" } else { "" };
            writeln!(
                f,
                "  {when:<30} version {}: {}, roles {:?}, {:?}{locked}",
                seen.version, seen.state.email, seen.state.role_ids, seen.state.status
            )?;
        }
        writeln!(f, "\nWho did it")?;
        for entry in audit_trail {
            let who = entry.metadata.user_id.as_deref().unwrap_or("-");
            let whence = entry.metadata.ip_address.as_deref().or(entry.metadata.correlation_id.as_deref()).unwrap_or("-");
            writeln!(f, "  {:>2} {:<18} {who:<8} {whence}", entry.version, entry.event_type)?;
        }
        Ok(())
    }

    fn snapshots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshots = &self.snapshots;
        writeln!(f, "\nSnapshots")?;
        writeln!(f, "  {} of {} accounts", snapshots.total_snapshots, snapshots.snapshots_by_aggregate.len())?;
        writeln!(f, "  {} bytes each, on average", snapshots.average_snapshot_size)?;
        if let (Some(oldest), Some(newest)) = (snapshots.oldest_snapshot, snapshots.newest_snapshot) {
            writeln!(f, "  made from {oldest:?} to {newest:?}")?;
        }
        Ok(())
    }
}

/// 1234567.8 as 1,234,567.8.
fn grouped(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}
