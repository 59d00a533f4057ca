//! Figures beside their floors and bounds, as a table or as JSON.

/// Figures measured so far.
#[derive(Default)]
pub struct Table(Vec<Line>);

struct Line {
    what: String,
    ours: f64,
    floor: Option<f64>,
    unit: &'static str,
    bound: String,
    holds: bool,
}

impl Table {
    /// Two times in microseconds, of which the first may be at most `most` times the second.
    pub fn ratio(&mut self, what: impl Into<String>, (ours, floor): (f64, f64), most: f64) {
        let holds = ours / floor <= most;
        let bound = format!("≤ {most} × floor");
        self.0.push(Line { what: what.into(), ours, floor: Some(floor), unit: "µs", bound, holds });
    }

    /// Two rates per second, of which the first must be at least the share `least` of the second.
    pub fn share(&mut self, what: impl Into<String>, (ours, floor): (f64, f64), least: f64) {
        let holds = ours / floor >= least;
        let bound = format!("≥ {least} × floor");
        self.0.push(Line { what: what.into(), ours, floor: Some(floor), unit: "/s", bound, holds });
    }

    /// A figure with a bound of its own.
    pub fn value(&mut self, what: impl Into<String>, ours: f64, unit: &'static str, most: f64) {
        let bound = format!("≤ {most} {unit}");
        self.0.push(Line { what: what.into(), ours, floor: None, unit, bound, holds: ours <= most });
    }

    /// A figure for the reader, without a bound.
    pub fn note(&mut self, what: impl Into<String>, ours: f64, unit: &'static str) {
        self.0.push(Line { what: what.into(), ours, floor: None, unit, bound: String::new(), holds: true });
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
        if has("--check") && self.0.iter().any(|line| !line.holds) {
            std::process::exit(1);
        }
    }

    fn print(&self) {
        println!("{:<72} {:>12} {:>12} {:>7}  {:<16} holds", "figure (median)", "foldlog", "floor", "ratio", "bound");
        for line in &self.0 {
            let [ours, floor, ratio, holds] = line.cells();
            println!("{:<72} {ours:>12} {floor:>12} {ratio:>7}  {:<16} {holds}", line.what, line.bound);
        }
    }

    fn print_markdown(&self) {
        println!("| figure (median) | foldlog | floor | ratio | bound | holds |\n| --- | ---: | ---: | ---: | --- | --- |");
        for line in &self.0 {
            let [ours, floor, ratio, holds] = line.cells();
            println!("| {} | {ours} | {floor} | {ratio} | {} | {holds} |", line.what, line.bound);
        }
    }

    fn print_json(&self) {
        let lines: Vec<serde_json::Value> = self
            .0
            .iter()
            .map(|line| {
                serde_json::json!({
                    "figure": line.what, "foldlog": line.ours, "floor": line.floor, "unit": line.unit,
                    "bound": line.bound, "holds": line.holds,
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "figures": lines }));
    }
}

impl Line {
    /// The figure, its floor, their ratio, whether the bound holds.
    fn cells(&self) -> [String; 4] {
        let digits = if self.ours.abs() < 0.1 { 4 } else { 2 };
        let with_unit = |figure: f64| format!("{figure:.digits$} {}", self.unit);
        let holds = match (self.bound.is_empty(), self.holds) {
            (true, _) => "",
            (false, true) => "yes",
            (false, false) => "NO",
        };
        let ratio = self.floor.map_or(String::new(), |floor| format!("{:.2}", self.ours / floor));
        [with_unit(self.ours), self.floor.map_or(String::new(), with_unit), ratio, holds.to_owned()]
    }
}
