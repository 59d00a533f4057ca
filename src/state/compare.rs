//! Compares a fold's snapshots of an aggregate with the events: is each what the events give, and does it go on as they do?
//!
//! JSON does not show what serde skips. So it is not enough that a snapshot looks like the state at its version. Each is
//! also folded on to the end; and one state is sent through JSON now and then while it is folded. All must end the same.

use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::fold::sealed::Fold;
use crate::model::place::Version;
use crate::state::replay::{self, fold_id};
use crate::state::restorable;
use crate::storage::load::{FoldedEvent, LoadRequest, Loader, Until};
use crate::storage::snapshots::SnapshotRow;

/// What a comparison found.
#[derive(Default)]
pub(crate) struct Compared {
    /// The versions of the snapshots that agree with the events, or from which the comparison had to start, because the
    /// events before were removed.
    pub(crate) trusted: Vec<u64>,
    /// The snapshots that do not agree, and why.
    pub(crate) wrong: Vec<(u64, String)>,
    /// How many could not be compared, because the events up to them were removed; the base is one of them.
    pub(crate) not_compared: u64,
}

/// Compares the snapshots of this fold, `rows`, with the events of their aggregate.
///
/// # Errors
/// If the events cannot be read or folded; [`ErrorKind::HistoryRemoved`] if the first were removed and no snapshot replaces
/// them.
pub(crate) fn compare<F: Fold>(scope: &Scope, fold: &F, aggregate_id: &str, rows: Vec<SnapshotRow>) -> Result<Compared> {
    let removed = scope.engine().purged_through(&scope.tenant, fold.aggregate_type(), aggregate_id)?;
    let (rows, too_old): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.version >= removed);
    let mut comparing = Comparing {
        fold,
        base: rows.iter().map(|row| row.version).min().filter(|_| removed > 0),
        folded: fold.initial(),
        sent: fold.initial(),
        snapshots: Vec::with_capacity(rows.len()),
        wrong: Vec::new(),
    };
    for row in rows {
        match fold.load(&row.state) {
            Ok(state) => comparing.snapshots.push(Candidate { version: row.version, state, has_begun: false }),
            Err(_) => comparing.wrong.push((row.version, "the snapshot's state does not fit the type".to_owned())),
        }
    }
    let request = LoadRequest {
        tenant: &scope.tenant,
        aggregate_type: fold.aggregate_type(),
        aggregate_id,
        until: Until::Now,
        snapshots_of: (removed > 0).then(|| fold_id(fold)),
        with_context: fold.wants_context(),
    };
    scope.engine().load(&request, &mut comparing)?;
    let compared = comparing.finish()?;
    Ok(Compared { not_compared: compared.not_compared + too_old.len() as u64, ..compared })
}

/// A snapshot that is compared.
struct Candidate<S> {
    version: u64,
    state: S,
    /// Whether its version was reached and it was right so far.
    has_begun: bool,
}

struct Comparing<'f, F: Fold> {
    fold: &'f F,
    base: Option<u64>,
    /// The state from the events alone.
    folded: F::State,
    /// The same, but sent through JSON now and then.
    sent: F::State,
    snapshots: Vec<Candidate<F::State>>,
    wrong: Vec<(u64, String)>,
}

/// A state is sent through JSON after these versions: often at first, then seldom, because a state may be large.
fn is_sent_after(version: u64) -> bool {
    version <= 16 || version.is_power_of_two() || version.is_multiple_of(1_000)
}

impl<F: Fold> Comparing<'_, F> {
    /// Compares the snapshots of this version, which begin here.
    fn reach(&mut self, version: u64) {
        let Comparing { fold, folded, snapshots, wrong, .. } = self;
        let mut text = None;
        snapshots.retain_mut(|snapshot| {
            if snapshot.version != version {
                return true;
            }
            let text = text.get_or_insert_with(|| fold.save(folded).map(|text| text.into_string()).unwrap_or_default());
            snapshot.has_begun = restorable::is_same(*fold, folded, text, &snapshot.state);
            if !snapshot.has_begun {
                wrong.push((version, "the snapshot is not what a replay of the events gives".to_owned()));
            }
            snapshot.has_begun
        });
    }

    fn finish(mut self) -> Result<Compared> {
        let text = self.fold.save(&self.folded)?;
        let is_end = |state: &F::State| restorable::is_same(self.fold, &self.folded, text.as_str(), state);
        let is_kept = is_end(&self.sent);
        let mut compared = Compared { not_compared: u64::from(self.base.is_some()), ..Compared::default() };
        for snapshot in &self.snapshots {
            let why = if !snapshot.has_begun {
                "the snapshot is of a version that the aggregate has not reached"
            } else if !is_end(&snapshot.state) {
                "later events give another state on top of the snapshot than on top of the events"
            } else if !is_kept {
                "the fold gives another state if it is sent through JSON on the way: what serde skips or rounds is needed later"
            } else {
                compared.trusted.push(snapshot.version);
                continue;
            };
            self.wrong.push((snapshot.version, why.to_owned()));
        }
        compared.wrong = self.wrong;
        Ok(compared)
    }
}

impl<F: Fold> Loader for Comparing<'_, F> {
    fn offer(&mut self, snapshot: SnapshotRow) -> bool {
        let is_base = snapshot.is_intact && snapshot.fold() == fold_id(self.fold) && self.base == Some(snapshot.version);
        let load = || Some((self.fold.load(&snapshot.state).ok()?, self.fold.load(&snapshot.state).ok()?));
        match is_base.then(load).flatten() {
            Some(states) => {
                (self.folded, self.sent) = states;
                self.reach(snapshot.version);
                true
            }
            None => false,
        }
    }

    fn apply(&mut self, event: FoldedEvent<'_>) -> Result<()> {
        let fold = self.fold;
        replay::apply(fold, &mut self.folded, event)?;
        replay::apply(fold, &mut self.sent, event)?;
        for snapshot in self.snapshots.iter_mut().filter(|snapshot| snapshot.has_begun) {
            replay::apply(fold, &mut snapshot.state, event)?;
        }
        if is_sent_after(event.version)
            && let Ok((_, restored)) = restorable::save(fold, &self.sent)
        {
            self.sent = restored;
        }
        self.reach(event.version);
        Ok(())
    }
}

/// The error of a comparison as a reason.
pub(crate) fn reason(error: &Error) -> String {
    match (error.kind(), error.version()) {
        (ErrorKind::HistoryRemoved, _) => "events were removed, and no snapshot of the fold replaces them".to_owned(),
        (_, Some(version)) if version > Version::ZERO => format!("{} (version {version})", error.detail()),
        _ => error.detail().to_owned(),
    }
}
