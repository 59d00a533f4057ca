//! The proofs in their short forms, and what needs a process of its own. The long forms:
//! `cargo test --release --test proof -- --long`.

#[path = "../support/mod.rs"]
mod support;

// The proofs look for them where the long forms have them.
use proof::{questions, worker};

mod archive;
mod corruption;
mod erase;
mod faults;
#[cfg(unix)]
mod fork;
mod kill;
#[cfg(unix)]
mod lost_files;
#[cfg(target_os = "linux")]
mod memory;
mod model_machine;
mod powercut;
mod proof;
mod readers;

/// Runs a test that is ignored otherwise in a process of its own.
fn run_alone(test: &str) {
    let program = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(program)
        .args([test, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .expect("a process");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains(" passed") && !said.contains(" 0 passed"), "{said}\n{complained}");
    eprintln!("{complained}");
}
