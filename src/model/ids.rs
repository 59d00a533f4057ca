//! Event ids made by the store: UUIDs of version 7 (RFC 9562, section 5.7) that hold the event's position, so that an
//! event is found by its id without an index of ids.
//!
//! The first 48 bits are the event's time in milliseconds. Then, around version and variant, come the lower 40 bits of
//! the position as a counter (section 6.2, method 1) and 34 random bits, drawn once for each append. So two copies of a
//! file that append at the same position in the same millisecond still make different ids.

use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::xxh3_128_with_seed;

const POSITION_BITS: u32 = 40;
const SALT_BITS: u32 = 34;
/// How many bits of the position come before the variant.
const HEAD_BITS: u32 = 12;

/// Draws the random bits for the ids of one append.
pub(crate) fn draw_salt() -> u64 {
    let (_, low) = Uuid::new_v4().as_u64_pair();
    low & mask(SALT_BITS)
}

/// The id of the event at a position. It depends on the arguments only, so the file stores just the salt.
pub(crate) fn made(created_at_micros: i64, position: u64, salt: u64) -> Uuid {
    let milliseconds = u64::try_from(created_at_micros.div_euclid(1_000)).unwrap_or(0) & mask(48);
    let position = position & mask(POSITION_BITS);
    let tail_bits = POSITION_BITS - HEAD_BITS;
    let head = (position >> tail_bits) & mask(HEAD_BITS);
    let tail = (position & mask(tail_bits)) << SALT_BITS | (salt & mask(SALT_BITS));
    let mut random = [0; 10];
    let (first, rest) = random.split_at_mut(2);
    first.copy_from_slice(&(head as u16).to_be_bytes());
    rest.copy_from_slice(&tail.to_be_bytes());
    Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}

/// The id of one of the events that a stored event is read as: the stored one's for the first, and for the others one
/// that depends on it and on their number only.
pub(crate) fn of_part(stored: Uuid, index: u64) -> Uuid {
    match index {
        0 => stored,
        _ => Builder::from_custom_bytes(xxh3_128_with_seed(stored.as_bytes(), index).to_be_bytes()).into_uuid(),
    }
}

/// The positions that an id may hold if the store made it, rising; `None` if the store did not make it.
pub(crate) fn position_in(id: Uuid) -> Option<impl Iterator<Item = u64>> {
    if id.get_version_num() != 7 {
        return None;
    }
    let (high, low) = id.as_u64_pair();
    let tail_bits = POSITION_BITS - HEAD_BITS;
    let position = (high & mask(HEAD_BITS)) << tail_bits | (low >> SALT_BITS) & mask(tail_bits);
    let first = if position == 0 { 1 << POSITION_BITS } else { position };
    Some((0..).map_while(move |round: u64| first.checked_add(round << POSITION_BITS)))
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_rise_with_positions() {
        let ids: Vec<Uuid> = (1..2_000).map(|position| made(1_790_000_000_123_456, position, 77)).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122));
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.get_timestamp().unwrap().to_unix() == (1_790_000_000, 123_000_000)));
        assert_eq!(made(-5, 1, 0).get_timestamp().unwrap().to_unix(), (0, 0), "a clock before 1970");
    }

    #[test]
    fn the_position_comes_back() {
        let salt = mask(SALT_BITS);
        for position in [1, 2, 0xFFF, 0x1000, (1 << 28) - 1, 1 << 28, 1 << 39, (1 << 40) - 1, 1 << 40, (1 << 40) + 7, 5 << 41] {
            let id = made(1_790_000_000_123_456, position, salt);
            assert!(position_in(id).unwrap().take_while(|held| *held <= position).any(|held| held == position), "{position}");
        }
        assert!(position_in(Uuid::new_v4()).is_none());
    }

    #[test]
    fn each_bit_of_salt_and_position_counts() {
        let base = made(1_000_000, 1 << 41, 0);
        for bit in 0..SALT_BITS {
            assert_ne!(made(1_000_000, 1 << 41, 1 << bit), base);
        }
        for bit in 0..POSITION_BITS {
            assert_ne!(made(1_000_000, 1 << bit, 0), base, "{bit}");
        }
        assert_ne!(draw_salt(), draw_salt());
    }
}
