//! What several test programs share. Each uses a part of it.
#![allow(dead_code)]

pub mod disk;
#[cfg(unix)]
pub mod fork;
pub mod model;
pub mod outcome;
pub mod random;
