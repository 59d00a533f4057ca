//! The whole public API against plain Rust, short form. The long form:
//! `cargo test --release --test proof -- --long machine`.

use crate::proof::machine;
use crate::support::random::seed;

#[test]
fn any_sequence_of_calls_ends_as_plain_rust_says() {
    machine::run(150, seed()).expect_clean();
}
