//! What upcasters cost: nothing for types without, and a bound for each event that has one.

use std::path::Path;

use foldlog::{Durability, Options, Query, Store, Upcasters};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::table::Table;
use crate::support::{Order, fill_one, in_turn, options, order_id, timed};

const EVENTS: u64 = 5_000;
const TYPES: [&str; 4] = ["Placed", "ItemAdded", "ItemRemoved", "Paid"];

/// The data of any of the four, as a conversion between Rust types sees it.
#[derive(Deserialize)]
struct Old(serde_json::Map<String, Value>);

#[derive(Serialize)]
struct New {
    #[serde(flatten)]
    old: serde_json::Map<String, Value>,
    channel: &'static str,
}

impl From<Old> for New {
    fn from(Old(old): Old) -> New {
        New { old, channel: "web" }
    }
}

pub fn upcasting(directory: &Path, _: u64, lines: &mut Table) {
    let path = directory.join("upcasting.db");
    let order = order_id(0);
    fill_one(&options(Durability::Fast).open(&path).unwrap(), &order, 0, EVENTS);
    let open = |upcasters: Upcasters| -> Store {
        let options: Options = options(Durability::Fast).upcasters(upcasters).unwrap();
        options.open(&path).unwrap()
    };
    let each =
        |rule: &dyn Fn(Upcasters, &'static str) -> Upcasters| TYPES.iter().fold(Upcasters::new(), |all, name| rule(all, name));
    let plain = open(Upcasters::new());
    let replay = |store: &Store| timed(|| drop(store.aggregates::<Order>().replay(&order).unwrap())) / EVENTS as u32;
    let read =
        |store: &Store| timed(|| assert_eq!(store.read(Query::new()).map(Result::unwrap).count() as u64, EVENTS)) / EVENTS as u32;

    let others = open((0..50).fold(Upcasters::new(), |all, n| all.add_field(format!("Other{n}"), 1, "a", 1)));
    let mut times = in_turn(101, || replay(&others), || replay(&plain));
    lines.ratio("replay, 50 upcasters for other event types, against none, per event", times, 1.05);
    times = in_turn(101, || read(&others), || read(&plain));
    lines.ratio("read all, 50 upcasters for other event types, against none, per event", times, 1.05);

    let field = open(each(&|all, name| all.add_field(name, 1, "channel", "web")));
    times = in_turn(101, || replay(&field), || replay(&plain));
    lines.value("an upcaster of one field in a replay, per event", times.0 - times.1, "µs", 1.5);
    times = in_turn(101, || read(&field), || read(&plain));
    lines.value("an upcaster of one field in a query, per event", times.0 - times.1, "µs", 1.5);
    let function = open(each(&|all, name| {
        all.data(name, 1, |mut data| {
            data["channel"] = "web".into();
            Ok(data)
        })
    }));
    times = in_turn(101, || replay(&function), || replay(&plain));
    lines.note("an upcaster by a function over JSON in a replay, per event", times.0 - times.1, "µs");
    let convert = open(each(&|all, name| all.convert::<Old, New>(name, 1)));
    times = in_turn(101, || replay(&convert), || replay(&plain));
    lines.note("an upcaster by a conversion of types in a replay, per event", times.0 - times.1, "µs");
}
