//! Ctrl-C: long work looks at the flag between two steps, so that nothing is left half done.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Done, Failure};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks the command to stop. A second one ends the process at once: every change is a transaction, so
/// even that leaves none half done.
pub(crate) fn listen() -> Done {
    let heard = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(crate::failure::exit::INTERRUPTED));
        }
    });
    match heard {
        // A process may call the command more than once.
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(error) => Err(Failure::failed(format!("Ctrl-C cannot be listened to: {error}"))),
    }
}

pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// What a progress callback of the library returns.
pub(crate) fn go_on() -> ControlFlow<()> {
    if is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
