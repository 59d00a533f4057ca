//! Numbers with a fraction: what is folded is what was appended, to the last bit, and a snapshot changes none of it.

use foldlog::{Aggregate, Expected, NewEvent, Query, SnapshotReason};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{fast, read};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Measured {
    Read { value: f64 },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Meter {
    values: Vec<f64>,
    product: f64,
}

impl Aggregate for Meter {
    const TYPE: &'static str = "meter";
    type Event = Measured;

    fn apply(&mut self, Measured::Read { value }: Measured) {
        self.values.push(value);
        self.product = self.product.mul_add(0.7, value / 3.0);
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Those that a fast reading of decimals gets wrong, and those at the ends of what there is.
const KNOWN: [f64; 6] = [1_780_124_630_955.832_3, 6.934698245112694e276, f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0];

fn is_kept(values: &[f64]) {
    let store = fast().in_memory().unwrap();
    let meters = store.aggregates::<Meter>();
    meters.append("m", Expected::New, values.iter().map(|value| Measured::Read { value: *value })).unwrap();
    let full = meters.without_snapshots().replay("m").unwrap().state;
    assert_eq!(bits(&full.values), bits(values), "what is folded is what was appended");
    for (event, value) in read(&store, Query::new()).iter().zip(values) {
        assert_eq!(event.decode::<Measured>().unwrap(), Measured::Read { value: *value });
    }
    meters.create_snapshot("m", SnapshotReason::Manual).unwrap();
    let replayed = meters.replay("m").unwrap();
    assert!(replayed.from_snapshot.is_some());
    assert_eq!((bits(&replayed.state.values), replayed.state.product), (bits(&full.values), full.product));
}

fn is_kept_without_types(value: f64) {
    let store = fast().in_memory().unwrap();
    let meters = store.json_aggregates("meter");
    meters.append("m", Expected::New, [NewEvent::new("Read", &json!({ "value": value })).unwrap()]).unwrap();
    let state = |state: &Value| state["value"].as_f64().unwrap().to_bits();
    assert_eq!(state(&meters.replay("m").unwrap().state), value.to_bits());
    meters.create_snapshot("m", SnapshotReason::Manual).unwrap();
    assert_eq!(state(&meters.replay("m").unwrap().state), value.to_bits());
}

#[test]
fn known_to_be_hard() {
    is_kept(&KNOWN);
    KNOWN.into_iter().for_each(is_kept_without_types);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_number_that_is_finite(values in proptest::collection::vec(any::<f64>().prop_filter("finite", |value| value.is_finite()), 1..40)) {
        is_kept(&values);
        is_kept_without_types(values[0]);
    }
}
