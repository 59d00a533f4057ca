use std::ops::ControlFlow;

use foldlog::{Documents, ErrorKind, Expected, Filter, NewEvent, Store};
use serde_json::{Value, json};

use super::store;

/// One document for each account; `factor` makes another definition.
fn accounts(version: u32, factor: i64) -> Documents {
    Documents::new(
        "account_view",
        version,
        |event| (&*event.aggregate_type == "account").then(|| event.aggregate_id.to_string()),
        move |account, event| {
            let data = event.data.to_value()?;
            match &*event.event_type {
                "Deposited" => {
                    let cents = account["cents"].as_i64().unwrap_or(0) + factor * data["cents"].as_i64().ok_or("no amount")?;
                    account["cents"] = json!(cents);
                }
                "Closed" => *account = Value::Null,
                _ => {}
            }
            Ok(())
        },
    )
}

fn append(store: &Store, account: &str, event_type: &str, data: &Value) {
    store.append("account", account, Expected::Any, [NewEvent::new(event_type, data).unwrap()]).unwrap();
}

fn deposit(store: &Store, account: &str, cents: i64) {
    append(store, account, "Deposited", &json!({ "cents": cents }));
}

fn cents(store: &Store, account: &str) -> Option<i64> {
    store.document("account_view", account).unwrap().map(|account| account.to_value().unwrap()["cents"].as_i64().unwrap())
}

#[test]
fn a_document_follows_its_events_and_null_deletes_it() {
    let (_directory, store) = store();
    store.project_inline(accounts(1, 1)).unwrap();
    assert_eq!(cents(&store, "a"), None);
    deposit(&store, "a", 5);
    deposit(&store, "b", 7);
    deposit(&store, "a", 6);
    append(&store, "a", "Noted", &json!({}));
    store.append("other", "a", Expected::Any, [NewEvent::new("Deposited", &json!({})).unwrap()]).unwrap();
    assert_eq!((cents(&store, "a"), cents(&store, "b")), (Some(11), Some(7)));
    append(&store, "a", "Closed", &json!({}));
    assert_eq!(cents(&store, "a"), None);
    assert_eq!(store.documents("account_view").collect::<foldlog::Result<Vec<_>>>().unwrap().len(), 1, "no row is left of it");
    append(&store, "never", "Closed", &json!({}));
    deposit(&store, "a", 1);
    assert_eq!(cents(&store, "a"), Some(1), "it begins anew");
}

#[test]
fn documents_are_read_in_pages_by_key() {
    let (_directory, store) = store();
    let hostile = ["", " ", "Z", "a", "a'b", "a\"b", "ä", "日本", "{x}", "%", "🦀"];
    for key in hostile.into_iter().filter(|key| !key.is_empty()) {
        deposit(&store, key, 1);
    }
    // Keys are the application's, not only aggregate ids: the empty one is possible, too.
    let by_tag = Documents::new(
        "by_key",
        1,
        |event| Some(if &*event.aggregate_id == " " { String::new() } else { event.aggregate_id.to_string() }),
        |document, event| {
            *document = json!({ "id": &*event.aggregate_id });
            Ok(())
        },
    );
    store.projection(by_tag).unwrap().run_to_end().unwrap();
    let keys: Vec<String> = store.documents("by_key").map(|document| document.unwrap().0).collect();
    for (at, key) in keys.iter().enumerate() {
        let after: Vec<String> = store.documents("by_key").after(key).map(|document| document.unwrap().0).collect();
        assert_eq!(after, keys[at + 1..]);
    }
    let mut expected: Vec<&str> = hostile.into_iter().filter(|key| *key != " ").collect();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    for key in keys {
        let document = store.document("by_key", &key).unwrap().unwrap().to_value().unwrap();
        assert_eq!(document["id"], if key.is_empty() { " " } else { &key });
    }
}

#[test]
fn following_and_rebuilt_documents_are_the_same() {
    let (_directory, store) = store();
    for n in 0..600 {
        deposit(&store, &format!("acc-{}", n % 7), n);
    }
    append(&store, "acc-3", "Closed", &json!({}));
    store.projection(accounts(1, 1)).unwrap().run_to_end().unwrap();
    let followed = store.documents("account_view").collect::<foldlog::Result<Vec<_>>>().unwrap();
    assert_eq!(followed.len(), 6);
    let rebuild = |documents| store.projection(documents).unwrap().rebuild(|_| ControlFlow::Continue(())).unwrap();
    rebuild(accounts(1, 1));
    assert_eq!(store.documents("account_view").collect::<foldlog::Result<Vec<_>>>().unwrap(), followed);
    let before = cents(&store, "acc-1").unwrap();
    rebuild(accounts(2, 10));
    assert_eq!(cents(&store, "acc-1"), Some(10 * before), "of the new definition");
}

#[test]
fn a_tenant_reads_its_own_documents_only() {
    let (_directory, store) = store();
    let acme = store.tenant("acme");
    deposit(&store, "a", 1);
    deposit(&acme, "a", 20);
    deposit(&acme, "b", 30);
    store.projection(accounts(1, 1).filter(Filter::new().all_tenants())).unwrap().run_to_end().unwrap();
    assert_eq!((cents(&store, "a"), cents(&store, "b")), (Some(1), None));
    assert_eq!((cents(&acme, "a"), cents(&acme, "b")), (Some(20), Some(30)));
    assert_eq!(store.documents("account_view").collect::<foldlog::Result<Vec<_>>>().unwrap().len(), 1);
    assert_eq!(cents(&store.tenant("nobody"), "a"), None);
    // Two projections on one table would mix what belongs apart.
    let error = acme.projection(accounts(1, 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(acme.subscriptions().unwrap().len(), 1, "nothing is left of the refused one");
}

#[test]
fn a_fold_that_fails_or_makes_what_cannot_be_kept_stops_before_its_event() {
    let (_directory, store) = store();
    deposit(&store, "a", 1);
    append(&store, "a", "Deposited", &json!({"cents": "many"}));
    let runner = store.projection(accounts(1, 1)).unwrap();
    let error = runner.run_to_end().unwrap_err();
    assert_eq!((error.kind(), error.position().unwrap().get()), (ErrorKind::Handler, 2));
    assert_eq!(cents(&store, "a"), Some(1));
    let deep = Documents::new(
        "deep",
        1,
        |_| Some("d".into()),
        |document, _| {
            for _ in 0..100 {
                *document = json!([document.take()]);
            }
            Ok(())
        },
    );
    let error = store.projection(deep).unwrap().run_to_end().unwrap_err();
    assert_eq!((error.kind(), error.position().unwrap().get()), (ErrorKind::Handler, 2), "200 levels could not be read again");
}

#[test]
fn names_that_are_no_documents_are_refused() {
    let (_directory, store) = store();
    deposit(&store, "a", 1);
    for name in ["", "a b", "a\"; DROP TABLE events", "events", "Subscriptions", "sqlite_schema", "a__b", "x'"] {
        assert_eq!(store.document(name, "a").unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        assert_eq!(
            store.documents(name).collect::<foldlog::Result<Vec<_>>>().unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{name}"
        );
        let documents = Documents::new(name, 1, |_| None, |_, _| Ok(()));
        assert_eq!(store.projection(documents).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
    assert_eq!(store.document("nothing", "a").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.documents("nothing").collect::<foldlog::Result<Vec<_>>>().unwrap_err().kind(), ErrorKind::NotFound);
}
