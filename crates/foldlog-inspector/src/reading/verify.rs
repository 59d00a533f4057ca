//! A verification that runs beside the pages, one at a time, on a connection of its own.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use foldlog::{Store, VerifyProgress, VerifyReport, VerifyStep};

#[derive(Default)]
pub(crate) enum Verification {
    #[default]
    None,
    Running {
        since: Instant,
        progress: Option<VerifyProgress>,
    },
    Done {
        at: DateTime<Utc>,
        took: Duration,
        /// The error's text if it could not be done.
        result: Result<VerifyReport, String>,
        steps: Vec<Taken>,
        /// Whether the result was noted in the file, and why not.
        noted: Option<Result<(), String>>,
    },
}

/// A step that was taken.
pub(crate) struct Taken {
    pub(crate) step: VerifyStep,
    pub(crate) rows: u64,
    pub(crate) damages: u64,
    pub(crate) took: Duration,
}

/// Measures the steps.
struct Steps {
    taken: Vec<Taken>,
    last: Instant,
    damages: u64,
}

impl Steps {
    fn note(&mut self, progress: &VerifyProgress) {
        let took = self.last.elapsed();
        self.last = Instant::now();
        let damages = progress.damages - std::mem::replace(&mut self.damages, progress.damages);
        match self.taken.last_mut().filter(|last| last.step == progress.step) {
            Some(last) => {
                last.rows = last.rows.max(progress.done);
                last.damages += damages;
                last.took += took;
            }
            None => self.taken.push(Taken { step: progress.step, rows: progress.done, damages, took }),
        }
    }
}

/// Starts one, unless one is running. Its result is noted in the file by `writer`, if there is one.
pub(crate) fn start(state: &Arc<Mutex<Verification>>, store: &Store, writer: Option<&Store>) {
    let lock = |state: &Mutex<Verification>, change: &dyn Fn(&mut Verification)| {
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
    };
    {
        let mut now = state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*now, Verification::Running { .. }) {
            return;
        }
        *now = Verification::Running { since: Instant::now(), progress: None };
    }
    let (of_thread, store, writer) = (state.clone(), store.clone(), writer.cloned());
    let work = move || {
        let began = Instant::now();
        // Weakly: when the inspector is gone, nobody wants the result.
        let weak = Arc::downgrade(&of_thread);
        drop(of_thread);
        let own = match store.path() {
            Some(path) => store.options().clone().open_read_only(path),
            None => Ok(store),
        };
        let mut steps = Steps { taken: Vec::new(), last: began, damages: 0 };
        let result = own.and_then(|own| {
            own.maintenance().verify(|progress| {
                steps.note(&progress);
                let Some(state) = weak.upgrade() else { return ControlFlow::Break(()) };
                lock(&state, &|now| *now = Verification::Running { since: began, progress: Some(progress) });
                ControlFlow::Continue(())
            })
        });
        let took = began.elapsed();
        if let Some(state) = weak.upgrade() {
            let noted = match (&result, writer) {
                (Ok(report), Some(writer)) => Some(writer.maintenance().note_verified(report).map_err(|error| error.to_string())),
                _ => None,
            };
            let result = result.map_err(|error| error.to_string());
            let done = Verification::Done { at: Utc::now(), took, result, steps: steps.taken, noted };
            *state.lock().unwrap_or_else(PoisonError::into_inner) = done;
        }
    };
    if std::thread::Builder::new().name("foldlog-inspector-verify".to_owned()).spawn(work).is_err() {
        lock(state, &|now| *now = Verification::None);
    }
}
