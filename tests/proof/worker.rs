//! A process that says, line by line, what it has done, and is killed in the midst of it: this program, started again.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

#[allow(dead_code, reason = "each program uses its part")]
pub struct Worker {
    child: Child,
    lines: BufReader<ChildStdout>,
    word: &'static str,
}

#[allow(dead_code, reason = "each program uses its part")]
impl Worker {
    /// `arguments` make this program come to the worker's work; `word` begins the lines that count.
    pub fn start(arguments: &[&str], settings: &[(&str, String)], word: &'static str) -> Worker {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Worker { child, lines, word }
    }

    /// Waits until it has said so many lines; returns whether it did before it ended.
    pub fn wait_for(&mut self, mut lines: u64) -> bool {
        let mut line = String::new();
        while lines > 0 {
            line.clear();
            if self.lines.read_line(&mut line).expect("lines") == 0 {
                return false;
            }
            lines -= u64::from(line.starts_with(self.word));
        }
        true
    }

    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// Lets it come to its end; whether that was a good one.
    pub fn succeeds(mut self) -> bool {
        self.wait_for(u64::MAX);
        self.child.wait().expect("a child").success()
    }

    /// As [`Worker::succeeds`], for one that must.
    pub fn finishes(self) -> Result<(), String> {
        if self.succeeds() { Ok(()) } else { Err("a worker that nobody killed failed".to_owned()) }
    }
}
