//! Tables: columns of plain text that fit the terminal.

use std::fmt;

use console::{Alignment, Style, pad_str};

use super::text;

/// Space between two columns.
const GAP: &str = "  ";
/// A column is not made narrower than this.
const NARROWEST: usize = 8;

/// A table. What is put into it cannot hold control characters, and only its own styles colour it.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Column {
    title: &'static str,
    is_number: bool,
    /// Whether it may be shortened.
    is_flexible: bool,
}

/// One place in a table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl fmt::Display) -> Cell {
        Cell { text: text::safe(&text.to_string()).into_owned(), style: Style::new() }
    }

    pub(crate) fn bold(mut self) -> Cell {
        self.style = self.style.bold();
        self
    }

    pub(crate) fn dim(mut self) -> Cell {
        self.style = self.style.dim();
        self
    }

    pub(crate) fn red(mut self) -> Cell {
        self.style = self.style.red();
        self
    }

    pub(crate) fn green(mut self) -> Cell {
        self.style = self.style.green();
        self
    }
}

impl Table {
    /// A column of text.
    pub(crate) fn text(self, title: &'static str) -> Table {
        self.column(Column { title, is_number: false, is_flexible: false })
    }

    /// A column of text that is shortened if the line would be too long.
    pub(crate) fn flexible(self, title: &'static str) -> Table {
        self.column(Column { title, is_number: false, is_flexible: true })
    }

    /// A column of numbers.
    pub(crate) fn number(self, title: &'static str) -> Table {
        self.column(Column { title, is_number: true, is_flexible: false })
    }

    fn column(mut self, column: Column) -> Table {
        self.columns.push(column);
        self
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines of the table, of at most `width` columns; `titled`: with the columns' titles first.
    pub(crate) fn lines(&self, width: Option<usize>, titled: bool) -> Vec<String> {
        let widths = self.widths(width, titled);
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        if titled {
            let titles: Vec<Cell> = self.columns.iter().map(|column| Cell::new(column.title).dim()).collect();
            lines.push(self.line(&titles, &widths));
        }
        lines.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        lines
    }

    fn line(&self, cells: &[Cell], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            let text = text::shorten(&cell.text, *width);
            let alignment = if column.is_number { Alignment::Right } else { Alignment::Left };
            let padded = pad_str(&text, *width, alignment, None);
            if !line.is_empty() || column.is_number {
                line.push_str(GAP);
            }
            line.push_str(&cell.style.apply_to(padded).to_string());
        }
        // A style may end after the spaces, so only a plain line can be cut.
        if console::colors_enabled() { line } else { line.trim_end().to_owned() }
    }

    fn widths(&self, most: Option<usize>, titled: bool) -> Vec<usize> {
        let mut widths: Vec<usize> = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter().enumerate() {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| console::measure_text_width(&cell.text));
            let title = if titled { console::measure_text_width(column.title) } else { 0 };
            widths.push(cells.max().unwrap_or(0).max(title));
        }
        let Some(most) = most else { return widths };
        let spaces = GAP.len() * widths.len();
        loop {
            let needed = widths.iter().sum::<usize>() + spaces;
            let widest = widths
                .iter_mut()
                .zip(&self.columns)
                .filter(|(width, column)| column.is_flexible && **width > NARROWEST)
                .map(|(width, _)| width)
                .max();
            match widest {
                Some(widest) if needed > most => {
                    *widest = (*widest).saturating_sub(needed - most).max(NARROWEST).max(*widest / 2)
                }
                _ => return widths,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal() {
        let mut table = Table::default().number("version").text("time").flexible("id").flexible("data");
        table.row([Cell::new(1), Cell::new("2026-11-02"), Cell::new("4711"), Cell::new("x".repeat(300))]);
        table.row([Cell::new(1000), Cell::new("2026-11-02"), Cell::new("y".repeat(90)), Cell::new("\u{1b}[2J")]);
        for width in [60, 80, 120, 500] {
            for line in table.lines(Some(width), true) {
                assert!(console::measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
        let lines = table.lines(None, false);
        assert!(lines[0].ends_with(&"x".repeat(300)) && lines[1].ends_with("\\u{1b}[2J"), "{lines:?}");
    }
}
