//! The command `foldlog`, for files of any application.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog_cli::run(foldlog_cli::Registry::new())
}
