//! Names that no honest application would give.

use proptest::prelude::*;

/// One of each sort.
pub const HOSTILE: [&str; 14] = [
    "'; DROP TABLE events; --",
    "\"quoted\" `name` [x] \\ / ../../etc/passwd",
    "%s %n ${HOME} {0} \u{1b}[31m",
    "line\nbreak\r\ttab\u{7f}",
    "שלום\u{202e}olleh\u{200f}",
    "🎈👩‍👩‍👧e\u{301}\u{fffd}\u{feff}",
    "NULL",
    " ",
    "0",
    "default",
    "%",
    "_",
    "?1",
    "{events}",
];

/// One of those, anything else but NUL, or as long as may be in characters of every width.
pub fn hostile_name() -> impl Strategy<Value = String> {
    let within = |text: String| {
        let mut bytes = 0;
        text.chars()
            .take_while(|c| {
                bytes += c.len_utf8();
                bytes <= 1_024
            })
            .collect::<String>()
    };
    prop_oneof![
        proptest::sample::select(HOSTILE.to_vec()).prop_map(str::to_owned),
        "[^\\x00]{1,40}",
        "[^\\x00]{300,1024}".prop_map(within),
        "[a-z]".prop_map(|c| c.repeat(1_024)),
    ]
}
