//! All that a file may be asked, each answer beside the truth.

use foldlog::{ErrorKind, Filter, Query, Result, Store};
use serde_json::json;

use super::truth::{Known, LIST, TAGS, Truth, id_of};

/// What a store may say of damage: nothing else, and it is counted.
pub struct Answers {
    /// Whether an error is one too many.
    pub sound: bool,
    pub errors: u64,
}

impl Answers {
    fn error<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(answer) => Some(answer),
            Err(error) => {
                assert!(!self.sound, "{error}");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                self.errors += 1;
                None
            }
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, given: Result<T>, expected: &T) {
        if let Some(given) = self.error(given) {
            assert_eq!(given, *expected, "{what}");
        }
    }

    fn events(&mut self, store: &Store, query: Query, mut expected: Vec<Known>, descending: bool, limit: Option<usize>) {
        if descending {
            expected.reverse();
        }
        expected.truncate(limit.unwrap_or(usize::MAX));
        let query = if descending { query.newest_first() } else { query };
        let query = limit.map_or(query.clone(), |limit| query.limit(limit as u64));
        let mut expected = expected.into_iter();
        for event in store.read(query.clone()) {
            let Some(event) = self.error(event) else { return };
            let known = expected.next().unwrap_or_else(|| panic!("{query:?}: {event:?} is too much"));
            let given = (event.position.get(), &*event.aggregate_id, event.version.get(), &event.tags[..], event.id);
            let tags: Vec<String> = known.tags.iter().map(|tag| tag.to_string()).collect();
            assert_eq!(given, (known.position, known.aggregate, known.version, &tags[..], id_of(known.position)), "{query:?}");
        }
        assert_eq!(expected.next(), None, "{query:?} ends too early");
    }

    /// The log and the tags, from each place to each place: every so manieth of these ranges.
    pub fn ranges(&mut self, store: &Store, truth: &Truth, (first, stride): (usize, usize)) {
        let ranges = (0..=truth.last).flat_map(|after| (after..=truth.last + 1).map(move |through| (after, through)));
        for (after, through) in ranges.skip(first % stride).step_by(stride) {
            let between = |query: Query| query.after_position(after).up_to_position(through);
            let within = |known: &Known| (after + 1..=through).contains(&known.position);
            for descending in [false, true] {
                self.events(store, between(Query::new()), truth.left(within), descending, None);
                self.events(store, between(Query::new()), truth.left(within), descending, Some(2));
                for tag in &TAGS[..2] {
                    let carries = |known: &Known| within(known) && known.tags.contains(tag);
                    self.events(store, between(Query::matching(Filter::new().tag(*tag))), truth.left(carries), descending, None);
                }
            }
        }
    }

    /// Everything once.
    pub fn all(&mut self, store: &Store, truth: &Truth) {
        for descending in [false, true] {
            self.events(store, Query::new(), truth.left(|_| true), descending, None);
            for tag in TAGS {
                let carries = |known: &Known| known.tags.contains(&tag);
                self.events(store, Query::matching(Filter::new().tag(tag)), truth.left(carries), descending, None);
                self.events(store, Query::matching(Filter::new().tag(tag)), truth.left(carries), descending, Some(1));
            }
        }
        for position in 1..=truth.last + 2 {
            let known = truth.left(|known| known.position == position);
            let found = store.event(id_of(position)).map(|found| found.map(|event| event.position.get()));
            self.same("an id", found, &known.first().map(|known| known.position));
        }
        self.same("the end", store.last_position().map(|last| last.get()), &truth.last);
        self.aggregates(store, truth);
    }

    fn aggregates(&mut self, store: &Store, truth: &Truth) {
        let lists = store.json_aggregates(LIST);
        let mut names: Vec<&str> = truth.known.iter().map(|known| known.aggregate).collect();
        names.sort_unstable();
        names.dedup();
        for limit in 1..=names.len() + 1 {
            let expected: Vec<String> = names.iter().take(limit).map(|name| name.to_string()).collect();
            self.same("names", lists.ids().take(limit).collect::<foldlog::Result<Vec<_>>>(), &expected);
        }
        for name in names.iter().copied().chain(["0", "bb", "zz"]) {
            let own = truth.left(|known| known.aggregate == name);
            let state = own.last().map(|last| json!({ "n": last.position }));
            match lists.replay(name) {
                Err(error) if truth.purged.contains(&name) => {
                    assert!([ErrorKind::HistoryRemoved, ErrorKind::Corrupt].contains(&error.kind()), "{error}");
                    assert!(!self.sound || error.kind() == ErrorKind::HistoryRemoved, "{error}");
                }
                Err(error) if !names.contains(&name) && error.kind() == ErrorKind::NotFound => {}
                replayed => self.same(name, replayed.map(|replayed| Some(replayed.state)), &state),
            }
            let query = Query::aggregate(LIST, name);
            if truth.purged.contains(&name) {
                assert!(store.read(query).all(|event| event.is_err()), "events of {name} are back");
            } else {
                self.events(store, query.clone(), own.clone(), false, None);
                self.events(store, query, own, true, None);
            }
        }
    }
}
