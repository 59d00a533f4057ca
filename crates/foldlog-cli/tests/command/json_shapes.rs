//! The shapes of `--json`: JSON.md shows an example of each, and must be what the command prints. After a wanted change run
//! the test with `FOLDLOG_MAKE_JSON_MD=1`, and raise the version of `--json` if a reader of the former shape would break.

use std::path::Path;

use foldlog::{Message, PublishError, Store};
use serde_json::Value;

use crate::support::Place;

const PAGE: &str = "JSON.md";

const HEAD: &str = "# The JSON of the command

With `--json` each command writes one object, or for lists one object a line. `--json=1` asks for these shapes, version 1: within
a version members are added, never renamed or removed. Errors are one object on standard error. The examples are of a small shop;
a test compares this page with what the command prints.
";

#[test]
fn the_page_shows_what_the_command_prints() {
    let place = Place::shop();
    place.done(&["snapshot", "create", "shop.db", "order/4711", "--merge-patch"]);
    let store = Store::open(place.path("shop.db")).unwrap();
    let reject = |message: &Message<'_>| match message.event.position.get() {
        1 => Err(PublishError::Reject("no such customer".to_owned())),
        _ => Ok(()),
    };
    store.outbox("mails").publisher(reject).run_to_end().unwrap();
    drop(store);
    let mut page = HEAD.to_owned();
    for command in [
        "stats shop.db",
        "ls shop.db order --size -n 1",
        "history shop.db order/4711 -n 1",
        "replay shop.db order/4711 --version 2",
        "diff shop.db order/4711 2 3",
        "events shop.db --type Paid",
        "events shop.db --count",
        "tail shop.db -n 1",
        "append shop.db order/4713 Placed --id 00000000-0000-8000-8000-000000000009",
        "snapshot create shop.db order/4712 --merge-patch",
        "snapshot create shop.db payment --merge-patch",
        "snapshot list shop.db order/4711 --state",
        "snapshot stats shop.db",
        "snapshot prune shop.db order/4711 --dry-run",
        "snapshot prune shop.db order/4711 --yes",
        "snapshot expire shop.db --dry-run",
        "snapshot drop shop.db order/4712 --dry-run",
        "verify shop.db",
        "verify shop.db order/4711",
        "export shop.db orders.ndjson",
        "import copy.db orders.ndjson",
        "copy shop.db orders.db --aggregate-type order",
        "backup shop.db monday.db",
        "restore monday.db again.db",
        "repair monday.db repaired.db",
        "purge shop.db --before 2026-11-03 --dry-run",
        "erase shop.db order/4712 --field /customer --by operator --yes",
        "compact shop.db",
        "reindex shop.db",
        "maintain shop.db",
        "subscriptions shop.db",
        "outbox shop.db",
        "dead-letters list shop.db",
        "dead-letters retry shop.db mails 1",
        "projections list shop.db",
        "sql copy.db SELECT\u{a0}count(*)\u{a0}AS\u{a0}events\u{a0}FROM\u{a0}events",
    ] {
        let arguments: Vec<String> = command.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let printed = place.json(&arguments);
        page.push_str(&format!("\n## foldlog {}\n\n```json\n", command.replace('\u{a0}', " ")));
        for value in printed {
            page.push_str(&serde_json::to_string_pretty(&settled(value)).unwrap());
            page.push('\n');
        }
        page.push_str("```\n");
    }
    let said = place.fails(4, &["append", "shop.db", "order/4711", "Paid", "--expect", "1", "--json"]);
    page.push_str("\n## An error\n\n```json\n");
    page.push_str(&serde_json::to_string_pretty(&settled(serde_json::from_str(&said).unwrap())).unwrap());
    page.push_str("\n```\n");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("FOLDLOG_MAKE_JSON_MD").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let shown = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(shown.lines()).find(|(one, other)| one != other);
    assert!(page == shown, "{PAGE} is not what the command prints: {differs:?}; see this test's comment");
}

/// What differs from run to run, made the same.
fn settled(value: Value) -> Value {
    match value {
        Value::Object(members) => members.into_iter().map(|(name, value)| (name.clone(), settle(&name, value))).collect(),
        Value::Array(items) => items.into_iter().map(settled).collect(),
        other => other,
    }
}

fn settle(name: &str, value: Value) -> Value {
    let made = "2026-11-27T14:03:00Z".into();
    match (name, &value) {
        ("origin", _) => "4f2b6a1c-0d3e-4c55-9a51-7f2f0c9f6a10".into(),
        ("sizeBytes" | "walBytes" | "sizeBefore" | "sizeAfter", _) => 12_400_000.into(),
        ("bytes", Value::Number(bytes)) if bytes.as_u64() > Some(10_000) => 12_400_000.into(),
        ("newestAt" | "oldestAt" | "oldestSnapshot" | "newestSnapshot", Value::String(_)) => made,
        ("createdAt", Value::String(time)) if !time.starts_with("2026-11-0") => made,
        _ => settled(value),
    }
}
