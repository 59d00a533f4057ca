//! `schema_evolution`: that it checks itself, and shows both shapes.

use crate::programs::run;

#[test]
fn it_shows_what_is_stored_and_what_is_read() {
    let none: [&str; 0] = [];
    let ran = run("schema_evolution", none).ended_with(0);
    for line in [
        r#"  UserCreated      1 {"mail":"ada@example.com"}"#,
        r#"  UserCreated      3 {"email":"ada@example.com","phoneVerified":false}"#,
        r#"  CreditGranted    2 {"cents":1250}"#,
        r#"  PhoneChanged     1 {"to":"+44 20 7946 0000"}"#,
        "the event has schema version 3, and this program knows it up to version 1",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {ran}");
    }
    assert!(ran.stdout.matches("HeartbeatSeen").count() == 1 && ran.stderr.is_empty(), "{ran}");
}
