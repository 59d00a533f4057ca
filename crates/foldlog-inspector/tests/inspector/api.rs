//! The inspector inside of an application: its folds, its tenant, its end; and the pages' JSON.

use foldlog::serde_json::{self, Value, json};
use foldlog::{Aggregate, Expected, NewEvent, Store};
use foldlog_inspector::{Folds, Inspector};
use serde::{Deserialize, Serialize};

use crate::client::get;
use crate::sample::{long_order, shop};

#[derive(Default, Serialize, Deserialize)]
struct Account {
    zebra: u64,
    cents: u64,
}

#[derive(Serialize, Deserialize)]
enum AccountEvent {
    Deposited { cents: u64 },
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    const FOLD_VERSION: u32 = 7;
    type Event = AccountEvent;
    fn apply(&mut self, AccountEvent::Deposited { cents }: AccountEvent) {
        assert!(cents < 1_000_000, "a bug of the application");
        self.cents += cents;
    }
}

fn body(answer: &crate::client::Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

#[test]
fn the_applications_own_folds_are_used() {
    let store = Store::in_memory().unwrap();
    store.aggregates::<Account>().append("a", 0, (1..=3).map(|cents| AccountEvent::Deposited { cents })).unwrap();
    store
        .append(
            "tally",
            "t",
            Expected::New,
            [NewEvent::new("Counted", &json!({})).unwrap(), NewEvent::new("Odd", &json!({})).unwrap()],
        )
        .unwrap();
    let folds = Folds::new().typed::<Account>().json("tally", |tallies| {
        tallies.fold_with("tally", 2, |state, event_type, _| match event_type {
            "Counted" => {
                state["n"] = json!(state["n"].as_u64().unwrap_or(0) + 1);
                Ok(())
            }
            _ => Err(foldlog::FoldError::UnknownEventType),
        })
    });
    let server = Inspector::new(store.clone()).folds(folds).serve("127.0.0.1:0").unwrap();
    let state = body(&get(&server, "/state.json/default/account/a?v=2"));
    assert_eq!(
        (&state["state"], &state["fold"], &state["foldVersion"]),
        (&json!({"zebra": 0, "cents": 3}), &json!(Account::fold_name()), &json!(7))
    );
    let page = get(&server, "/a/default/account/a?v=3&fold=0").body;
    assert!(page.find("zebra").unwrap() < page.find("&quot;cents&quot;").unwrap(), "in the order of the application's fields");

    // The fold fails at version 2: the state before it, and the reason in place.
    let state = body(&get(&server, "/state.json/default/tally/t?v=1"));
    assert_eq!(state["state"], json!({"n": 1}));
    let page = get(&server, "/a/default/tally/t").body;
    assert!(page.contains("There is no state at version 2") && page.contains("does not know this event type"), "{page}");
    assert!(page.contains("The fold stops here") && page.contains("Odd"));

    // A panic of the application's code is an answer, and the next page comes.
    store.append("account", "b", Expected::New, [NewEvent::new("Deposited", &json!({"cents": 1_000_000})).unwrap()]).unwrap();
    assert_eq!(get(&server, "/a/default/account/b").status, 500);
    assert_eq!(get(&server, "/a/default/account/a").status, 200);
}

#[test]
fn one_tenant_can_be_all_there_is() {
    let (_place, store) = shop();
    let server = Inspector::new(store.tenant("second shop")).only_its_tenant().serve("127.0.0.1:0").unwrap();
    let log = body(&get(&server, "/log.json"));
    assert_eq!(log["events"].as_array().unwrap().len(), 1);
    for path in ["/a/default/order/o-2", "/e/1", "/state.json/default/order/o-2", "/e/1.json"] {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
    for path in ["/log?tenant=default", "/aggregates?tenant=default", "/delivery", "/", "/storage"] {
        let page = get(&server, path);
        assert!(page.status == 200 && !page.body.contains("o-2") && !page.body.contains("o-long"), "{path}");
    }
}

#[test]
fn pages_have_their_json() {
    let (_place, store) = shop();
    let server = Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap();
    let statistics = body(&get(&server, "/statistics.json"));
    assert_eq!(statistics["events"], json!(store.file_statistics().unwrap().events));
    let list = body(&get(&server, "/aggregates.json?order=id&type=order&q=o-1"));
    let ids: Vec<&str> = list["aggregates"].as_array().unwrap().iter().map(|row| row["aggregateId"].as_str().unwrap()).collect();
    assert_eq!(ids[..3], ["o-1", "o-10", "o-11"]);
    assert_eq!(ids.len(), 12, "ten and one of the first tenant, one of the second: {ids:?}");
    let newest = body(&get(&server, "/log.json?type=Shipped"));
    assert_eq!(newest["events"][0]["aggregateId"], "o-31");
    let found = body(&get(&server, "/log.json?path=%24.shipment.parcels.1%20%3D%202&before=20"));
    assert_eq!(found["events"].as_array().unwrap().len(), 6);
    assert_eq!(body(&get(&server, "/e/5.json"))["position"], 5);
    let readers = body(&get(&server, "/delivery.json"));
    assert_eq!(readers["readers"][0]["status"]["name"], "shipping", "the worst first");
    let mail = body(&get(&server, "/delivery.json?tenant=default&name=mail"));
    assert_eq!((&mail["status"]["name"], &mail["outbox"]["leased"]), (&json!("mail"), &json!(0)));
    let letters = mail["deadLetters"].as_array().unwrap();
    assert_eq!(letters.len() as u64, mail["outbox"]["dead"].as_u64().unwrap());
    let second = letters[1]["position"].as_u64().unwrap();
    let rest = body(&get(&server, &format!("/delivery.json?tenant=default&name=mail&after={second}")));
    assert_eq!(rest["deadLetters"].as_array().unwrap().len(), letters.len() - 2);
    assert_eq!(get(&server, "/delivery.json?name=mail").status, 404, "that of all tenants");
    assert_eq!(get(&server, "/e/999999.json").status, 404);
}

#[test]
fn aggregates_have_their_size_and_their_newest_snapshot() {
    let (_place, store) = shop();
    long_order(&store, "o-longer", 1_002);
    let server = Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap();
    let list = body(&get(&server, "/aggregates.json?order=id&tenant=default&type=order&q=o-"));
    let row = |id: &str| list["aggregates"].as_array().unwrap().iter().find(|row| row["aggregateId"] == id).unwrap().clone();
    let size = |id: &str| -> usize {
        let events = store.read(foldlog::Query::aggregate("order", id)).map(Result::unwrap);
        events
            .map(|event| {
                event.data.as_str().len()
                    + event.metadata.map_or(0, |metadata| metadata.as_str().len())
                    + json!(event.tags).to_string().len()
            })
            .sum()
    };
    assert_eq!((&row("o-1")["dataBytes"], &row("o-1")["newestSnapshot"]), (&json!(size("o-1")), &json!(3)));
    assert_eq!((&row("o-long")["dataBytes"], &row("o-long")["newestSnapshot"]), (&json!(size("o-long")), &json!(90)));
    assert_eq!(row("o-2")["newestSnapshot"], Value::Null);
    assert_eq!(row("o-longer")["dataBytes"], Value::Null, "more than are added up");
    let page = get(&server, "/aggregates?order=id&tenant=default&q=o-longer").body;
    assert!(page.contains("over 1,000 events") && page.contains("v990"), "{page}");
}

#[test]
fn lists_are_paged_in_both_directions() {
    let place = tempfile::tempdir().unwrap();
    let store = crate::sample::open(&place);
    for n in 0..130 {
        store.append("thing", format!("t-{n:03}"), Expected::New, [NewEvent::new("Made", &json!({ "n": n })).unwrap()]).unwrap();
    }
    // Its last event is new, so it is on the first page only.
    store.append("thing", "t-005", 1, [NewEvent::new("Made", &json!({})).unwrap()]).unwrap();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    let ids = |path: &str| -> Vec<String> {
        let rows = body(&get(&server, path));
        rows["aggregates"].as_array().unwrap().iter().map(|row| row["aggregateId"].as_str().unwrap().to_owned()).collect()
    };
    let last =
        |path: &str| body(&get(&server, path))["aggregates"].as_array().unwrap().last().unwrap()["lastPosition"].to_string();
    let first = ids("/aggregates.json");
    assert_eq!((first.len(), first[0].as_str(), first[1].as_str()), (50, "t-005", "t-129"));
    let second_page = format!("/aggregates.json?before={}", last("/aggregates.json"));
    let second = ids(&second_page);
    let third = ids(&format!("/aggregates.json?before={}", last(&second_page)));
    assert_eq!(first.iter().chain(&second).chain(&third).collect::<std::collections::BTreeSet<_>>().len(), 130);
    assert_eq!(second.len() + third.len(), 80);
    let back = ids(&format!("/aggregates.json?after={}", body(&get(&server, &second_page))["aggregates"][0]["lastPosition"]));
    assert_eq!(back, first, "newer than the second page is the first one");
    let oldest = ids("/aggregates.json?after=0");
    assert_eq!((oldest.len(), oldest.last().unwrap().as_str()), (50, "t-000"));

    let by_id = ids("/aggregates.json?order=id");
    assert_eq!((by_id.len(), by_id[49].as_str()), (50, "t-049"));
    let next = ids("/aggregates.json?order=id&after=t-049&after-tenant=default&after-type=thing");
    assert_eq!((next[0].as_str(), next.len()), ("t-050", 50));
    assert_eq!(ids("/aggregates.json?q=t-12").len(), 10);
}

#[test]
fn it_ends_when_it_is_dropped() {
    let (_place, store) = shop();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    let address = server.address();
    let cookie = crate::client::cookie(&server);
    // Somebody waits for news; that must not hold it up.
    let waiting = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(
            &mut stream,
            format!("GET /live HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n").as_bytes(),
        )
        .unwrap();
        let mut all = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut all);
        String::from_utf8_lossy(&all).into_owned()
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    let began = std::time::Instant::now();
    drop(server);
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
    let news = waiting.join().unwrap();
    assert!(news.contains("text/event-stream") && news.contains("\r\n\r\ndata: "), "{news}");
    assert!(std::net::TcpStream::connect(address).is_err());
}
