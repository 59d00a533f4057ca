//! A verification that runs beside the pages, one at a time, on a connection of its own.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use foldlog::{Store, VerifyProgress, VerifyReport};

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
    },
}

/// Starts one, unless one is running.
pub(crate) fn start(state: &Arc<Mutex<Verification>>, store: &Store) {
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
    let (of_thread, store) = (state.clone(), store.clone());
    let work = move || {
        let began = Instant::now();
        // Weakly: when the inspector is gone, nobody wants the result.
        let weak = Arc::downgrade(&of_thread);
        drop(of_thread);
        let own = match store.path() {
            Some(path) => store.options().clone().open_read_only(path),
            None => Ok(store),
        };
        let result = own.and_then(|own| {
            own.maintenance().verify(|progress| {
                let Some(state) = weak.upgrade() else { return ControlFlow::Break(()) };
                lock(&state, &|now| *now = Verification::Running { since: began, progress: Some(progress) });
                ControlFlow::Continue(())
            })
        });
        if let Some(state) = weak.upgrade() {
            let result = result.map_err(|error| error.to_string());
            *state.lock().unwrap_or_else(PoisonError::into_inner) =
                Verification::Done { at: Utc::now(), took: began.elapsed(), result };
        }
    };
    if std::thread::Builder::new().name("foldlog-inspector-verify".to_owned()).spawn(work).is_err() {
        lock(state, &|now| *now = Verification::None);
    }
}
