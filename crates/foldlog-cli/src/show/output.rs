//! Standard output: lines, tables and JSON. Everything is made safe for a terminal here.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use super::table::Table;
use super::text;
use crate::failure::Done;

/// Where results go.
pub(crate) struct Output {
    to: BufWriter<Stdout>,
    is_terminal: bool,
    is_wide: bool,
}

impl Output {
    pub(crate) fn new(is_wide: bool) -> Output {
        let to = io::stdout();
        Output { is_terminal: to.is_terminal(), to: BufWriter::new(to), is_wide }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The columns that a line may take; `None` if as many as it likes.
    pub(crate) fn width(&self) -> Option<usize> {
        let fits = self.is_terminal && !self.is_wide;
        fits.then(|| usize::from(console::Term::stdout().size().1))
    }

    /// One line of text.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Done {
        Ok(writeln!(self.to, "{}", text::safe(&line.to_string()))?)
    }

    /// A table, with titles if a person reads it.
    pub(crate) fn table(&mut self, table: &Table) -> Done {
        for line in table.lines(self.width(), self.is_terminal) {
            writeln!(self.to, "{line}")?;
        }
        Ok(())
    }

    /// A table without titles.
    pub(crate) fn rows(&mut self, table: &Table) -> Done {
        for line in table.lines(self.width(), false) {
            writeln!(self.to, "{line}")?;
        }
        Ok(())
    }

    /// A value as JSON on one line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Done {
        let json = serde_json::to_string(value)?;
        Ok(writeln!(self.to, "{}", text::safe_json(&json))?)
    }

    /// A value as JSON for people, on many lines.
    pub(crate) fn pretty_json(&mut self, value: &impl Serialize) -> Done {
        for line in serde_json::to_string_pretty(value)?.lines() {
            writeln!(self.to, "{}", text::safe_json(line))?;
        }
        Ok(())
    }

    /// What was written so far appears now, for who follows.
    pub(crate) fn flush(&mut self) -> Done {
        Ok(self.to.flush()?)
    }

    /// Bytes as they are, for a file or another program. A terminal gets no control characters even so.
    pub(crate) fn raw(&mut self) -> impl Write + '_ {
        &mut self.to
    }
}

/// A message for people, on standard error.
pub(crate) fn note(message: impl fmt::Display) {
    // Nobody can be told that standard error is closed.
    let _ = writeln!(io::stderr(), "{}", text::safe(&message.to_string()));
}
