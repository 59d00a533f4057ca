//! The proofs, as the long forms run them.

#[path = "../proof/archive.rs"]
pub mod archive;
#[path = "../proof/corruption.rs"]
pub mod corruption;
#[path = "../proof/effects.rs"]
pub mod effects;
#[path = "../proof/erase.rs"]
pub mod erase;
#[path = "../proof/faults.rs"]
pub mod faults;
#[path = "../proof/kill.rs"]
pub mod kill;
#[cfg(unix)]
#[path = "../proof/lost_files.rs"]
pub mod lost_files;
#[path = "../proof/machine/mod.rs"]
pub mod machine;
#[path = "../proof/powercut.rs"]
pub mod powercut;
#[path = "../proof/powercut_delivery/mod.rs"]
pub mod powercut_delivery;
#[path = "../proof/questions.rs"]
pub mod questions;
#[path = "../proof/readers.rs"]
pub mod readers;
#[path = "../proof/worker.rs"]
pub mod worker;
