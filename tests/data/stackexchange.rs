//! The revisions of every post of a site. Outside truth: the site's own table of posts at the time of its dump.

use chrono::{DateTime, Utc};
use foldlog::{Aggregate, Filter, Query, SnapshotPolicy, Store, UnknownEvents};
use serde::{Deserialize, Serialize};

use crate::streams::DataSet;
use crate::support::{TestStore, assert_holds};

#[derive(Serialize, Deserialize)]
struct Revised {
    text: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum PostEvent {
    TitleSet(Revised),
    TitleEdited(Revised),
    TitleRolledBack(Revised),
    TagsSet(Revised),
    TagsEdited(Revised),
    TagsRolledBack(Revised),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Post {
    title: Option<String>,
    tags: Option<String>,
}

impl Aggregate for Post {
    const TYPE: &'static str = "post";
    const UNKNOWN_EVENTS: UnknownEvents = UnknownEvents::Ignore;
    type Event = PostEvent;

    fn apply(&mut self, event: PostEvent) {
        use PostEvent::*;
        match event {
            TitleSet(revised) | TitleEdited(revised) | TitleRolledBack(revised) => self.title = revised.text,
            TagsSet(revised) | TagsEdited(revised) | TagsRolledBack(revised) => self.tags = revised.text,
        }
    }
}

#[derive(Deserialize)]
struct Row {
    aggregate_id: String,
    title: Option<String>,
    tags: Option<String>,
    last_edit_date: Option<DateTime<Utc>>,
    closed_date: Option<DateTime<Utc>>,
    community_owned_date: Option<DateTime<Utc>>,
    // Where the table and the history disagree at the source.
    fold_differs_in: Vec<String>,
}

const EDITS: [&str; 6] = ["BodyEdited", "TitleEdited", "TagsEdited", "BodyRolledBack", "TitleRolledBack", "TagsRolledBack"];

/// Type and time of the newest event of one of these types: the greatest version, not the latest time.
fn newest(store: &Store, id: &str, event_types: &[&str]) -> Option<(String, DateTime<Utc>)> {
    let filter = Filter::new().event_types(event_types.iter().copied());
    let query = Query::aggregate(Post::TYPE, id).filter(filter).newest_first().limit(1);
    store.read(query).next().map(|event| event.unwrap()).map(|event| (event.event_type.to_string(), event.created_at))
}

#[test]
fn posts_are_as_the_sites_own_table_says() {
    let Some(set) = DataSet::find("stackexchange-french-meta") else { return };
    let file = TestStore::filled(&set, SnapshotPolicy::every(3));
    assert_holds(&file.store, &set);
    let posts = file.store.aggregates::<Post>();
    let (mut rows, mut fields, mut excepted, mut from_snapshot) = (0, 0, 0, 0);
    for row in set.rows::<Row>("expected_posts.ndjson.gz") {
        let id = row.aggregate_id.as_str();
        let full = posts.replay(id).unwrap();
        let fast = posts.replay(id).unwrap();
        assert_eq!(fast.state, full.state, "{id}");
        from_snapshot += u64::from(fast.from_snapshot.is_some());

        let edited = newest(&file.store, id, &EDITS).map(|(_, time)| time);
        let closed = newest(&file.store, id, &["PostClosed", "PostReopened"]);
        let closed = closed.filter(|(event_type, _)| event_type == "PostClosed").map(|(_, time)| time);
        let owned = newest(&file.store, id, &["CommunityOwned"]).map(|(_, time)| time);
        let mut check = |field: &str, equal: bool| {
            if row.fold_differs_in.iter().any(|differs| differs == field) {
                excepted += 1;
            } else {
                assert!(equal, "{id}: {field}");
                fields += 1;
            }
        };
        // The table has no title and no tags for an answer, whatever its question's history says.
        if row.title.is_some() {
            check("title", row.title == full.state.title);
        }
        if row.tags.is_some() {
            check("tags", row.tags == full.state.tags);
        }
        check("last_edit_date", row.last_edit_date == edited);
        check("closed_date", row.closed_date == closed);
        check("community_owned_date", row.community_owned_date == owned);
        rows += 1;
    }
    assert_eq!(rows, file.store.statistics().unwrap().aggregates);
    assert!(from_snapshot > 300, "only {from_snapshot} replays started from a snapshot");
    assert!(fields > 50 * excepted, "{fields} fields compared and {excepted} left out");
}
