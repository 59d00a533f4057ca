//! Forking, which Rust's library has no safe call for.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` in a forked process, which ends there; whether it returned true.
pub fn in_a_fork(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs on a copy of this thread only. It allocates, which the C library allows after a fork, takes no
    // lock that another thread of the parent could hold but those that are the subject of the test, and ends without
    // running destructors or exit handlers.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process could be forked");
    if child == 0 {
        // SAFETY: sets a timer of this process. A child that hangs dies of it, and the test fails instead of hanging too.
        unsafe { libc::alarm(60) };
        let right = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: ends the process and nothing else.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was made above and writes to a variable of this function.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(waited, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
