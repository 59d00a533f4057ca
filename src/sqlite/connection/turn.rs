//! A value that a process's threads use in turn, each waiting up to a time-out.
//!
//! A lock of the standard library waits for ever. A thread that appends inside another's transaction, or behind a
//! thread that hangs, would never get an error.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::sync;

/// A value that one thread uses at a time.
pub(super) struct Turns<T> {
    place: Mutex<Place<T>>,
    given_back: Condvar,
}

/// Where the value is kept while nobody uses it.
#[derive(Default)]
struct Place<T> {
    is_taken: bool,
    /// Threads that wait. Without any nobody needs to be woken, which would be a call to the system.
    waiting: usize,
    value: T,
}

impl<T: Default> Turns<T> {
    pub(super) fn new(value: T) -> Turns<T> {
        Turns { place: Mutex::new(Place { is_taken: false, waiting: 0, value }), given_back: Condvar::new() }
    }

    /// Takes the value as soon as it is free; `None` if that takes more than `longest`.
    pub(super) fn take(&self, longest: Duration) -> Option<Turn<'_, T>> {
        let mut place = self.lock();
        if place.is_taken && !longest.is_zero() {
            // A time too far in the future for the clock means no limit.
            let until = Instant::now().checked_add(longest);
            place.waiting += 1;
            while place.is_taken {
                let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
                if left.is_zero() {
                    break;
                }
                place = self.given_back.wait_timeout(place, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            place.waiting -= 1;
        }
        if place.is_taken {
            return None;
        }
        place.is_taken = true;
        Some(Turn { turns: self, value: std::mem::take(&mut place.value) })
    }

    /// The value, when it has no other user.
    pub(super) fn get_mut(&mut self) -> &mut T {
        &mut self.place.get_mut().unwrap_or_else(PoisonError::into_inner).value
    }

    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        // No application code runs under this lock.
        sync::lock(&self.place)
    }
}

/// The value, until this is dropped, also by a panic.
pub(super) struct Turn<'a, T: Default> {
    turns: &'a Turns<T>,
    value: T,
}

impl<T: Default> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Default> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Default> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut place = self.turns.lock();
        (place.is_taken, place.value) = (false, std::mem::take(&mut self.value));
        if place.waiting > 0 {
            self.turns.given_back.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_turn_that_does_not_come_ends() {
        let turns = Turns::new(1);
        let held = turns.take(Duration::ZERO).unwrap();
        assert!(turns.take(Duration::ZERO).is_none());
        let began = Instant::now();
        assert!(turns.take(Duration::from_millis(30)).is_none());
        assert!(began.elapsed() >= Duration::from_millis(30));
        drop(held);
        assert_eq!(*turns.take(Duration::ZERO).unwrap(), 1);
    }

    #[test]
    fn everybody_gets_a_turn_and_sees_what_the_last_one_left() {
        let turns = Turns::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1_000).for_each(|_| *turns.take(Duration::MAX).unwrap() += 1));
            }
        });
        assert_eq!(*turns.take(Duration::ZERO).unwrap(), 8_000);
    }

    #[test]
    fn a_panic_gives_it_back() {
        let turns = Turns::new(5);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut held = turns.take(Duration::ZERO).unwrap();
            *held += 1;
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(*turns.take(Duration::ZERO).unwrap(), 6);
    }
}
