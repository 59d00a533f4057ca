//! Wikipedia's edits of one day. Outside truth: the ten most edited pages, as Apache Druid's tutorial prints them.

use std::collections::{BTreeMap, HashMap};

use foldlog::{Aggregate, Filter, Replayed, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::streams::DataSet;
use crate::support::{TestStore, assert_holds};

#[derive(Serialize, Deserialize)]
struct Edit {
    added: i64,
    deleted: i64,
    delta: i64,
    user: String,
}

#[derive(Serialize, Deserialize)]
enum PageEvent {
    PageCreated(Edit),
    PageEdited(Edit),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Page {
    added: i64,
    deleted: i64,
    delta: i64,
    last_user: String,
}

impl Aggregate for Page {
    const TYPE: &'static str = "page";
    type Event = PageEvent;

    fn apply(&mut self, event: PageEvent) {
        let (PageEvent::PageCreated(edit) | PageEvent::PageEdited(edit)) = event;
        self.added += edit.added;
        self.deleted += edit.deleted;
        self.delta += edit.delta;
        self.last_user = edit.user;
    }
}

#[derive(Deserialize)]
struct Truth {
    aggregate_id: String,
    version: u64,
    #[serde(flatten)]
    page: Page,
}

#[test]
fn sums_of_every_page_and_the_ten_most_edited() {
    let Some(set) = DataSet::find("wikipedia-2015-09-12") else { return };
    let file = TestStore::filled(&set, SnapshotPolicy::every(4));
    assert_holds(&file.store, &set);

    let truths: HashMap<String, Truth> =
        set.rows("final_states.ndjson.gz").map(|truth: Truth| (truth.aggregate_id.clone(), truth)).collect();
    let pages = file.store.aggregates::<Page>();
    let mut steps = 0;
    let check = |id: &str, page: &Replayed<Page>| {
        assert_eq!((&page.state, page.version.get()), (&truths[id].page, truths[id].version), "{id}");
        Ok::<(), String>(())
    };
    let rebuilt = pages
        .replay_each()
        .run(check, |_| {
            steps += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((rebuilt.total, rebuilt.succeeded, steps), (35_278, 35_278, truths.len()), "{:?}", rebuilt.failures);

    // The pages with enough edits for a snapshot, from it; and the last edit by Merge Patch, for which no type is needed.
    let merged = file.store.json_aggregates("page");
    for (id, truth) in truths.iter().filter(|(_, truth)| truth.version >= 4) {
        assert_eq!(pages.replay(id).unwrap().from_snapshot, None);
        let from_snapshot = pages.replay(id).unwrap();
        assert_eq!((from_snapshot.events_folded, from_snapshot.state), (0, truth.page.clone()), "{id}");
        let merged = merged.replay(id).unwrap();
        assert_eq!(merged.state["user"], json!(truth.page.last_user), "{id}");
        assert_eq!(merged.from_snapshot, None, "the snapshot of the typed fold is none of this one's: {id}");
    }

    let mut edits: BTreeMap<String, u64> = BTreeMap::new();
    for event in file.store.read(Filter::new().aggregate_type("page")) {
        let metadata = event.unwrap().metadata.unwrap().to_value().unwrap();
        *edits.entry(metadata["page"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let published: Vec<(String, u64)> = serde_json::from_value(set.truth()["external_truth"]["top10_pages"].clone()).unwrap();
    assert_eq!(published.len(), 10);
    let mut counts: Vec<u64> = edits.values().copied().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(counts[..10], published.iter().map(|(_, count)| *count).collect::<Vec<_>>());
    for (page, count) in &published {
        assert_eq!(edits.get(page), Some(count), "{page}");
    }
}
