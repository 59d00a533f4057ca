//! The examples, run as the programs that a user runs.

mod git_history;
mod log_format;
mod long_life;
mod orders;
mod programs;
mod repository;
mod schema_evolution;
mod user_account;

// Parts of the examples that are tested as units as well.
#[allow(dead_code)]
#[path = "../../examples/user_account/domain.rs"]
mod domain;
#[allow(dead_code)]
#[path = "../../examples/git_history/file.rs"]
mod file;
#[allow(dead_code)]
#[path = "../../examples/git_history/raw_log.rs"]
mod raw_log;
