//! Chance that can be repeated: everything random in the tests follows from one printed number.

/// SplitMix64: small, fast, and good enough to choose test cases.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Another source whose numbers have nothing to do with this one's.
    pub fn fork(&mut self) -> Random {
        Random(self.next())
    }
}

/// `FOLDLOG_SEED`, or a fixed number, so that the same commit gives the same result.
pub fn seed() -> u64 {
    match std::env::var("FOLDLOG_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("FOLDLOG_SEED must be a number, not {text:?}")),
        Err(_) => 20_261_122,
    }
}
