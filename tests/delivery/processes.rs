//! What the tests that kill processes share.

/// Numbers that look random, the same ones for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
        println!("seed {seed}");
        Random(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// How often: the short form, or the long one with `FOLDLOG_PROOF=long`.
pub fn rounds(short: u64, long: u64) -> u64 {
    if std::env::var("FOLDLOG_PROOF").is_ok_and(|form| form == "long") { long } else { short }
}
