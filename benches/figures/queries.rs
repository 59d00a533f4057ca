//! Queries with few hits, counts and statistics in a large file. The floor has an index for each of them.

use std::path::Path;
use std::time::Duration;

use foldlog::{Batch, Durability, Expected, Filter, Query};

use crate::support::floor::{Entry, Indexes};
use crate::support::table::Table;
use crate::support::{ORDER, in_turn, interleaved, new_event, order_id, pair, timed};

/// Every event carries this tag.
const DENSE: &str = "everywhere";
/// One event in the middle of the file is of this aggregate type, another one of this event type.
const RARE_AGGREGATE: &str = "refund";
const RARE_EVENT: &str = "Refunded";
/// What a query with one hit may take, in microseconds: a scan of the file takes seconds.
const FEW_HITS: f64 = 5_000.0;
/// What counting from summaries may take, in microseconds: counting the events takes ten times as long.
pub const COUNTED: f64 = 20_000.0;

pub fn queries(directory: &Path, events: u64, lines: &mut Table) {
    let indexes = Indexes { tags: true, types: true, ..Indexes::default() };
    let (store, floor) = pair(directory, "queries", Durability::Fast, indexes);
    let event = |n| new_event(n).tag(DENSE);
    let entry = |n| Entry { tags: vec![DENSE.into()], ..Entry::order(n) };
    let retyped = |n| Entry { event_type: RARE_EVENT, ..entry(n) };
    let mut all = interleaved(&vec![events / 1_000; 1_000]).enumerate().peekable();
    while all.peek().is_some() {
        let part: Vec<(usize, (u64, u64))> = all.by_ref().take(1_000).collect();
        let middle = part[0].0 as u64 == events / 2;
        let mut batch = part
            .iter()
            .fold(Batch::new(), |batch, (_, (order, n))| batch.append(ORDER, order_id(*order), Expected::Any, [event(*n)]));
        if middle {
            let data = foldlog::Json::from_text(entry(3).data).unwrap();
            batch = batch.append(RARE_AGGREGATE, "r", Expected::Any, [event(3)]).append(
                "order-of-old",
                "o",
                Expected::Any,
                [foldlog::NewEvent::with_json(RARE_EVENT, data).tag(DENSE)],
            );
        }
        store.commit(batch).unwrap();
        floor.transaction(|| {
            for (_, (order, n)) in &part {
                floor.append_within(ORDER, &order_id(*order), *n, [entry(*n)]).unwrap();
            }
            if middle {
                floor.append_within(RARE_AGGREGATE, "r", 0, [entry(3)]).unwrap();
                floor.append_within("order-of-old", "o", 0, [retyped(3)]).unwrap();
            }
        });
    }

    let ours = |query: Query, newest_first: bool, hits: usize| -> Duration {
        let query = if newest_first { query.newest_first() } else { query };
        timed(|| assert_eq!(store.read(query.limit(1_000)).map(Result::unwrap).count(), hits))
    };
    for newest in [false, true] {
        let order = if newest { "newest first" } else { "oldest first" };
        let what = |what: &str| format!("the one event {what} in {events}, {order}");
        let times = in_turn(
            21,
            || ours(Query::matching(Filter::new().aggregate_type(RARE_AGGREGATE)), newest, 1),
            || timed(|| assert_eq!(floor.of_aggregate_type(RARE_AGGREGATE, newest), 1)),
        );
        lines.beside(what("of a rare aggregate type"), times, "µs").at_most(FEW_HITS);
        let times = in_turn(
            21,
            || ours(Query::matching(Filter::new().event_type(RARE_EVENT)), newest, 1),
            || timed(|| assert_eq!(floor.of_event_type(RARE_EVENT, newest), 1)),
        );
        lines.beside(what("of a rare event type"), times, "µs").at_most(FEW_HITS);
        let times = in_turn(
            21,
            || ours(Query::matching(Filter::new().tag(DENSE).event_type(RARE_EVENT)), newest, 1),
            || timed(|| assert_eq!(floor.of_tag_and_type(DENSE, RARE_EVENT, newest), 1)),
        );
        lines.beside(what("of a dense tag and a rare type"), times, "µs").at_most(FEW_HITS);
    }
    let times = in_turn(
        31,
        || ours(Query::matching(Filter::new().tag(DENSE)), false, 1_000),
        || timed(|| assert_eq!(floor.of_tag(DENSE), 1_000)),
    );
    lines.beside("the first 1,000 events of a dense tag", times, "µs");

    let paid = floor.count_type("Paid");
    let times = in_turn(
        11,
        || timed(|| assert_eq!(store.count(foldlog::Filter::new().event_type("Paid")).unwrap(), paid)),
        || timed(|| assert_eq!(floor.count_type("Paid"), paid)),
    );
    lines.beside(format!("count by event type, {events} events"), times, "µs").at_most(COUNTED);
    let times = in_turn(
        7,
        || timed(|| assert_eq!(store.statistics().unwrap().aggregates, 1_002)),
        || timed(|| assert_eq!(floor.statistics().1, 1_002)),
    );
    lines.beside(format!("statistics, {events} events"), times, "µs").at_most(COUNTED);
}
