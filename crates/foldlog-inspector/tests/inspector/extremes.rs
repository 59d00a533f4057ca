//! Numbers and days of an address, at the ends of their types: never a panic, never an answer that does not come.

use std::time::{Duration, Instant};

use foldlog_inspector::Inspector;

use crate::client::get;
use crate::sample::shop;

const NUMBERS: [&str; 19] = [
    "0",
    "1",
    "2",
    "89",
    "90",
    "91",
    "4294967295",
    "4294967296",
    "4294967297",
    "9223372036854775806",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551614",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "1.5",
    "1e9",
    "",
];

const DAYS: [&str; 9] = [
    "0000-01-01",
    "-0001-01-01",
    "-262143-01-01",
    "%2B262142-12-31",
    "%2B262143-01-01",
    "1970-01-01",
    "9999-12-31",
    "2026-02-30",
    "",
];

/// What `?` stands for, and the pages.
const PAGES: [(&[&str], &[&str]); 2] = [
    (
        &NUMBERS,
        &[
            "/?days=?",
            "/e/?",
            "/e/?.json",
            "/find?q=?",
            "/log?after=?",
            "/log?before=?",
            "/log?before=?&after=?&type=Paid",
            "/log.json?after=?",
            "/log.json?before=?",
            "/aggregates?after=?",
            "/aggregates?before=?",
            "/aggregates?order=id&after=?",
            "/aggregates.json?before=?",
            "/delivery/mail?after=?",
            "/delivery/default/mail?after=?",
            "/a/default/order/o%2Dlong?v=?",
            "/a/default/order/o%2Dlong?v=?&part=1",
            "/a/default/order/o%2Dlong?v=?&tab=event",
            "/a/default/order/o%2Dlong?tab=snapshots&v=?",
            "/a/default/order/o%2Dlong?from=?&to=50",
            "/a/default/order/o%2Dlong?from=2&to=?",
            "/a/default/order/o%2Dlong?from=?&to=?&list=compact&fold=1",
            "/state.json/default/order/o%2Dlong?v=?",
            "/storage?tables=?",
        ],
    ),
    (&DAYS, &["/log?from=?", "/log?to=?", "/log?from=?&to=?", "/log.json?from=?&to=?&tag=customer:c-1"]),
];

#[test]
fn numbers_and_days_at_the_ends_of_their_types() {
    let (_place, store) = shop();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    for (values, pages) in PAGES {
        for (page, value) in pages.iter().flat_map(|page| values.iter().map(move |value| (page, value))) {
            // The first question mark of all but two begins the query.
            let path = match page.split_once("?") {
                Some((before, rest)) if rest.contains('=') => format!("{before}?{}", rest.replace('?', value)),
                _ => page.replace('?', value),
            };
            let began = Instant::now();
            let answer = get(&server, &path);
            assert!((200..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
            assert!(began.elapsed() < Duration::from_secs(10), "{path}: {:?}", began.elapsed());
        }
    }
}
