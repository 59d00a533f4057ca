//! Event enums in serde's other forms: one log, read and written by programs that differ in the form.

use foldlog::{Aggregate, ErrorKind, Expected, NewEvent, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{Place, read, refused, says};

macro_rules! program {
    ($module:ident, $(#[$attribute:meta])* $(, $other:item)?) => {
        mod $module {
            use super::*;

            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            $(#[$attribute])*
            pub enum Event {
                Opened { owner: String },
                Deposited { cents: u64 },
                Closed,
            }

            #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
            pub struct Account {
                pub owner: String,
                pub cents: u64,
                pub closed: bool,
            }

            impl Aggregate for Account {
                const TYPE: &'static str = "account";
                type Event = Event;

                fn apply(&mut self, event: Event) {
                    match event {
                        Event::Opened { owner } => self.owner = owner,
                        Event::Deposited { cents } => self.cents += cents,
                        Event::Closed => self.closed = true,
                    }
                }
            }
        }
    };
}

program!(external,);
program!(internal, #[serde(tag = "type")]);
program!(adjacent, #[serde(tag = "type", content = "data")]);

#[test]
fn programs_with_different_forms_read_one_log() {
    let place = Place::new();
    let store = place.open();
    macro_rules! write {
        ($module:ident) => {
            let accounts = store.aggregates::<$module::Account>();
            let opened = $module::Event::Opened { owner: stringify!($module).to_owned() };
            accounts.append("a", Expected::Any, [opened, $module::Event::Deposited { cents: 1 }]).unwrap();
            accounts.execute("a", |_| [$module::Event::Closed]).unwrap();
        };
    }
    write!(external);
    write!(internal);
    write!(adjacent);
    macro_rules! replayed {
        ($module:ident) => {{
            let state = store.aggregates::<$module::Account>().without_snapshots().replay("a").unwrap().state;
            assert_eq!((state.owner.as_str(), state.cents, state.closed), ("adjacent", 3, true));
        }};
    }
    replayed!(external);
    replayed!(internal);
    replayed!(adjacent);
    let stored: Vec<_> =
        read(&store, Query::new()).into_iter().map(|event| (event.event_type, event.data.into_string())).collect();
    for (n, owner) in ["external", "internal", "adjacent"].into_iter().enumerate() {
        let [opened, deposited, closed] = &stored[n * 3..n * 3 + 3] else { unreachable!() };
        assert_eq!((&*opened.0, opened.1.clone()), ("Opened", format!(r#"{{"owner":"{owner}"}}"#)));
        assert_eq!((&*deposited.0, deposited.1.as_str()), ("Deposited", r#"{"cents":1}"#));
        assert_eq!((&*closed.0, closed.1.as_str()), ("Closed", "{}"));
    }
    let merged = store.json_aggregates("account").replay("a").unwrap().state;
    assert_eq!(merged, json!({ "owner": "adjacent", "cents": 1 }), "no tag stands in a merged state");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tolerant {
    Deposited {
        cents: u64,
    },
    #[serde(untagged)]
    Other(Value),
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tally {
    cents: u64,
    others: Vec<Value>,
}

impl Aggregate for Tally {
    const TYPE: &'static str = "account";
    type Event = Tolerant;

    fn apply(&mut self, event: Tolerant) {
        match event {
            Tolerant::Deposited { cents } => self.cents += cents,
            Tolerant::Other(event) => self.others.push(event),
        }
    }
}

#[test]
fn an_untagged_variant_keeps_what_a_later_program_wrote() {
    let place = Place::new();
    let store = place.open();
    let tallies = store.aggregates::<Tally>();
    tallies.append("a", Expected::New, [Tolerant::Deposited { cents: 5 }]).unwrap();
    store.append("account", "a", 1, [NewEvent::new("Frozen", &json!({ "by": "court" })).unwrap()]).unwrap();
    let state = tallies.replay("a").unwrap().state;
    assert_eq!(state, Tally { cents: 5, others: vec![json!({ "Frozen": { "by": "court" } })] });
    tallies.append("b", Expected::New, [Tolerant::Other(json!({ "Frozen": { "by": "court" } }))]).unwrap();
    let copied = read(&store, Query::aggregate("account", "b")).remove(0);
    assert_eq!((&*copied.event_type, copied.data.as_str()), ("Frozen", r#"{"by":"court"}"#));

    store.append("account", "c", 0, [NewEvent::new("Deposited", &json!({ "cents": "five" })).unwrap()]).unwrap();
    let error = refused(tallies.replay("c"), ErrorKind::Codec);
    says(&error, &["field `cents`: invalid type: string, expected u64", "event type \"Deposited\""]);
}

#[test]
fn an_error_says_the_reason_and_what_to_write() {
    #[derive(Serialize, Deserialize)]
    struct Deposited {
        cents: u64,
    }
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Deposited { cents: u64 },
    }
    let error = refused(NewEvent::of(&Deposited { cents: 1 }), ErrorKind::Codec);
    says(&error, &["Deposited is a struct", "`enum Event { Deposited(Deposited) }`"]);
    let error = refused(NewEvent::of(&Untagged::Deposited { cents: 1 }), ErrorKind::Codec);
    says(&error, &["an untagged enum has no names", "remove `untagged`"]);

    let place = Place::new();
    let store = place.open();
    store.append("account", "a", 0, [NewEvent::new("Deposited", &json!({ "amount": 1 })).unwrap()]).unwrap();
    let error = refused(store.aggregates::<external::Account>().replay("a"), ErrorKind::Codec);
    says(&error, &["missing field `cents`", "`default`", "`alias`", "version 1", "event type \"Deposited\""]);
}
