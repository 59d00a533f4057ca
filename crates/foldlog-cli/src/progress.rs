//! Progress of long work: a bar on a terminal, nothing elsewhere.

use std::io::Read;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::show::text;

/// A bar on standard error that goes away when the work is done.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// `what`: such as `checking`; `unit`: such as `events`.
    pub(crate) fn new(what: &str, unit: &str) -> Progress {
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::no_length();
        let template = format!("{what} {{human_pos}} of {{human_len}} {unit} {{bar:20}} {{percent}} %  {{per_sec}}  {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("█░"));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar }
    }

    /// For bytes that are read; `total`: of them, if known.
    pub(crate) fn of_bytes(what: &str, total: Option<u64>) -> Progress {
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let template = match total {
            Some(_) => format!("{what} {{bar:20}} {{percent}} %  {{binary_bytes_per_sec}}  {{msg}}"),
            None => format!("{what} {{bytes}}  {{binary_bytes_per_sec}}  {{msg}}"),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("█░"));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar }
    }

    /// Counts the bytes that are read through it.
    pub(crate) fn counting(&self, from: impl Read + 'static) -> impl Read + 'static {
        self.bar.wrap_read(from)
    }

    pub(crate) fn reached(&self, done: u64, total: u64) {
        self.bar.set_length(total.max(done));
        self.bar.set_position(done);
    }

    pub(crate) fn problems(&self, count: u64) {
        self.bar.set_message(text::counted(count, "problem"));
    }

    pub(crate) fn says(&self, what: String) {
        self.bar.set_message(text::safe(&what).into_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
