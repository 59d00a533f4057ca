//! What a proof did and what it found.

use std::time::Duration;

/// Violations that are described; all are counted.
const KEPT: usize = 20;

#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub rounds: u64,
    pub violations: u64,
    pub described: Vec<String>,
    /// What is allowed and worth to be looked at.
    pub notes: Vec<String>,
    /// Counts worth knowing, under their names.
    pub counts: Vec<(&'static str, u64)>,
    pub seed: u64,
    pub time: Duration,
}

impl Outcome {
    pub fn new(seed: u64) -> Outcome {
        Outcome { seed, ..Outcome::default() }
    }

    pub fn violation(&mut self, description: impl Into<String>) {
        self.violations += 1;
        if self.described.len() < KEPT {
            self.described.push(description.into());
        }
    }

    pub fn note(&mut self, description: String) {
        if self.notes.len() < KEPT {
            self.notes.push(description);
        }
    }

    pub fn count(&mut self, name: &'static str, by: u64) {
        match self.counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += by,
            None => self.counts.push((name, by)),
        }
    }

    pub fn counted(&self, name: &str) -> u64 {
        self.counts.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }

    /// Takes up what another thread found.
    pub fn add(&mut self, other: Outcome) {
        self.rounds += other.rounds;
        self.violations += other.violations;
        self.described.extend(other.described);
        self.described.truncate(KEPT);
        self.notes.extend(other.notes);
        self.notes.truncate(KEPT);
        other.counts.into_iter().for_each(|(name, by)| self.count(name, by));
    }

    /// For the short forms: fails, with the seed, if anything was found.
    pub fn expect_clean(self) -> Outcome {
        eprintln!(
            "{} rounds, {} violations, seed {}, {:.1?}: {:?}",
            self.rounds, self.violations, self.seed, self.time, self.counts
        );
        self.notes.iter().for_each(|note| eprintln!("{note}"));
        assert_eq!(self.violations, 0, "repeat with FOLDLOG_SEED={}: {:#?}", self.seed, self.described);
        assert!(self.rounds > 0, "nothing was tried");
        self
    }
}
