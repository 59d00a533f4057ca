//! Event ids that the store makes: UUID version 7 (RFC 9562, part 5.7).

use uuid::{Builder, Uuid};

/// The ids of one append. The time to the microsecond (RFC 9562, part 6.2, method 3), so that the ids of one append after
/// the other rise as well; after it one draw of 62 random bits, then counted up (method 2), so that those of a batch rise.
/// Ids that rise are put in at the end of their index, where nothing has to be looked up.
pub(crate) struct Ids {
    milliseconds: u64,
    random: [u8; 10],
}

impl Ids {
    pub(crate) fn new(now_micros: i64) -> Ids {
        let drawn = Uuid::new_v4().into_bytes();
        let mut random = [0; 10];
        // Bytes 6 and 8 of a version 4 id are not all random.
        let source = drawn.iter().enumerate().filter(|(at, _)| *at != 6 && *at != 8).map(|(_, byte)| byte);
        for (to, from) in random.iter_mut().zip(source) {
            *to = *from;
        }
        // The first twelve bits behind the version, which takes the upper half of the first byte.
        let fraction = u16::try_from(now_micros.rem_euclid(1_000) * 4_096 / 1_000).unwrap_or(0);
        [random[0], random[1]] = fraction.to_be_bytes();
        Ids { milliseconds: u64::try_from(now_micros.div_euclid(1_000)).unwrap_or(0), random }
    }

    pub(crate) fn next(&mut self) -> Uuid {
        let id = Builder::from_unix_timestamp_millis(self.milliseconds, &self.random).into_uuid();
        for byte in self.random.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_rise() {
        let mut ids = Ids::new(1_790_000_000_123_456);
        let made: Vec<Uuid> = (0..1_000).map(|_| ids.next()).collect();
        assert!(made.iter().all(|id| id.get_version_num() == 7));
        assert!(made.is_sorted());
        assert!(made.iter().all(|id| id.get_timestamp().unwrap().to_unix() == (1_790_000_000, 123_000_000)));
        let mut distinct = made.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), made.len());
        let each: Vec<Uuid> = (0..5_000).map(|micros| Ids::new(1_790_000_000_000_000 + micros).next()).collect();
        assert!(each.is_sorted(), "of one append after the other");
        assert_ne!(Ids::new(0).next(), Ids::new(0).next());
        assert_eq!(Ids::new(-5).next().get_timestamp().unwrap().to_unix(), (0, 0), "a clock before 1970");
    }
}
