//! Figures beside their floors and bounds, as a table or as JSON.

/// Figures measured so far, and with which settings.
#[derive(Default)]
pub struct Table {
    lines: Vec<Line>,
    settings: Vec<(&'static str, String)>,
}

pub struct Line {
    what: String,
    ours: f64,
    floor: Option<f64>,
    unit: &'static str,
    bound: String,
    holds: bool,
    /// Bytes that an append writes to the write-ahead log: foldlog's and the floor's mean.
    wal_bytes: Option<[f64; 2]>,
}

impl Table {
    pub fn setting(&mut self, name: &'static str, value: impl ToString) {
        self.settings.push((name, value.to_string()));
    }

    /// Two figures side by side, without a bound.
    pub fn beside(&mut self, what: impl Into<String>, (ours, floor): (f64, f64), unit: &'static str) -> &mut Line {
        self.line(what, ours, Some(floor), unit)
    }

    /// Two times in microseconds, of which the first may be at most `most` times the second.
    pub fn ratio(&mut self, what: impl Into<String>, times: (f64, f64), most: f64) -> &mut Line {
        self.beside(what, times, "µs").at_most_times(most)
    }

    /// Two rates per second, of which the first must be at least the share `least` of the second.
    pub fn share(&mut self, what: impl Into<String>, (ours, floor): (f64, f64), least: f64) {
        self.line(what, ours, Some(floor), "/s").bound(format!("≥ {least} × floor"), ours / floor >= least);
    }

    /// A figure with a bound of its own.
    pub fn value(&mut self, what: impl Into<String>, ours: f64, unit: &'static str, most: f64) {
        self.line(what, ours, None, unit).at_most(most);
    }

    /// A figure for the reader, without a bound.
    pub fn note(&mut self, what: impl Into<String>, ours: f64, unit: &'static str) {
        self.line(what, ours, None, unit);
    }

    fn line(&mut self, what: impl Into<String>, ours: f64, floor: Option<f64>, unit: &'static str) -> &mut Line {
        let line = Line { what: what.into(), ours, floor, unit, bound: String::new(), holds: true, wal_bytes: None };
        self.lines.push(line);
        self.lines.last_mut().unwrap()
    }

    /// Prints the figures; `--json` as one object, `--markdown` as a table for a document. With `--check` the process ends with 1 if a bound is broken.
    pub fn print_and_check(&self, arguments: &[String]) {
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        if has("--json") {
            self.print_json();
        } else if has("--markdown") {
            self.print_markdown();
        } else {
            self.print();
        }
        if has("--check") && self.lines.iter().any(|line| !line.holds) {
            std::process::exit(1);
        }
    }

    fn print(&self) {
        self.settings.iter().for_each(|(name, value)| println!("{name}: {value}"));
        let [what, ours, floor, ratio, bound, holds, wal] = HEAD;
        println!("\n{what:<72} {ours:>13} {floor:>13} {ratio:>8}  {bound:<14} {holds:<5} {wal:>16}");
        for line in &self.lines {
            let [ours, floor, ratio, holds, wal] = line.cells();
            println!("{:<72} {ours:>13} {floor:>13} {ratio:>8}  {:<14} {holds:<5} {wal:>16}", line.what, line.bound);
        }
    }

    fn print_markdown(&self) {
        self.settings.iter().for_each(|(name, value)| println!("- {name}: {value}"));
        println!("\n| {} |\n| --- | ---: | ---: | ---: | --- | --- | ---: |", HEAD.join(" | "));
        for line in &self.lines {
            let [ours, floor, ratio, holds, wal] = line.cells();
            println!("| {} | {ours} | {floor} | {ratio} | {} | {holds} | {wal} |", line.what, line.bound);
        }
    }

    fn print_json(&self) {
        let lines: Vec<serde_json::Value> = self
            .lines
            .iter()
            .map(|line| {
                serde_json::json!({
                    "figure": line.what, "foldlog": line.ours, "floor": line.floor, "unit": line.unit,
                    "bound": line.bound, "holds": line.holds,
                    "walBytes": line.wal_bytes.map(|[ours, floor]| serde_json::json!({ "foldlog": ours, "floor": floor })),
                })
            })
            .collect();
        let settings: serde_json::Map<_, _> =
            self.settings.iter().map(|(name, value)| (name.to_string(), value.as_str().into())).collect();
        println!("{}", serde_json::json!({ "settings": settings, "figures": lines }));
    }
}

const HEAD: [&str; 7] = ["figure (median)", "foldlog", "floor", "ratio", "bound", "holds", "kB of WAL"];

impl Line {
    /// At most this many times the floor's figure.
    pub fn at_most_times(&mut self, most: f64) -> &mut Line {
        let holds = self.floor.is_some_and(|floor| self.ours / floor <= most);
        self.bound(format!("≤ {most} × floor"), holds)
    }

    /// At most this, whatever the floor needs.
    pub fn at_most(&mut self, most: f64) -> &mut Line {
        self.bound(format!("≤ {most} {}", self.unit), self.ours <= most)
    }

    /// Bytes that an append writes to the write-ahead log.
    pub fn wal(&mut self, ours: f64, floor: f64) -> &mut Line {
        self.wal_bytes = Some([ours, floor]);
        self
    }

    fn bound(&mut self, bound: String, holds: bool) -> &mut Line {
        (self.bound, self.holds) = (bound, holds);
        self
    }

    /// The figure, its floor, their ratio, whether the bound holds, what was written.
    fn cells(&self) -> [String; 5] {
        let digits = if self.ours.abs() < 0.1 { 4 } else { 2 };
        let with_unit = |figure: f64| format!("{figure:.digits$} {}", self.unit);
        let holds = match (self.bound.is_empty(), self.holds) {
            (true, _) => "",
            (false, true) => "yes",
            (false, false) => "NO",
        };
        let ratio = self.floor.map_or(String::new(), |floor| format!("{:.2}", self.ours / floor));
        let wal = self.wal_bytes.map_or(String::new(), |[ours, floor]| format!("{:.1} : {:.1}", ours / 1e3, floor / 1e3));
        [with_unit(self.ours), self.floor.map_or(String::new(), with_unit), ratio, holds.to_owned(), wal]
    }
}
