//! `long_life`: that it checks itself, and reaches its end.

use crate::programs::run;

#[test]
fn three_versions_an_archive_an_erasure_and_a_restore() {
    let none: [&str; 0] = [];
    let ran = run("long_life", none).ended_with(0);
    for line in [
        "second version   goes on in cents",
        "archive          1010 events older than two years",
        "erasure          c-3 and the address of c-4",
        "restored         2709 events",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {ran}");
    }
    assert!(ran.stderr.is_empty(), "{ran}");
}
