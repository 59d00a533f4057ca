//! Iterators that read page by page, in the order of keys. Nothing is held open between two pages.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::json::Json;

/// Items read in one transaction: first as many as a screen shows, then more.
const FIRST: usize = 32;
const MOST: usize = 512;

/// The progress of an iterator over pages.
#[derive(Clone)]
struct Pages<T> {
    after: Option<String>,
    ready: VecDeque<T>,
    room: usize,
    has_ended: bool,
}

impl<T> Pages<T> {
    fn new() -> Pages<T> {
        Pages { after: None, ready: VecDeque::new(), room: FIRST, has_ended: false }
    }

    fn start_after(&mut self, key: String) {
        *self = Pages { after: Some(key), ..Pages::new() };
    }

    /// The next item. `read` returns up to the given number of items after a key.
    fn next(
        &mut self,
        key: impl FnOnce(&T) -> &str,
        read: impl FnOnce(Option<&str>, usize) -> Result<Vec<T>>,
    ) -> Option<Result<T>> {
        if self.ready.is_empty() && !self.has_ended {
            match read(self.after.as_deref(), self.room) {
                Ok(page) => {
                    self.has_ended = page.len() < self.room;
                    self.after = page.last().map(key).map(str::to_owned);
                    self.ready = page.into();
                    self.room = MOST;
                }
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// The ids of the aggregates of a type, in the order of their bytes; see [`Aggregates::ids`](crate::Aggregates::ids). Between
/// two pages nothing is held open, so an aggregate that is created meanwhile may appear. After an error the iterator ends.
#[derive(Clone)]
#[must_use = "an iterator does nothing until it is asked for the next item"]
pub struct Ids {
    scope: Scope,
    aggregate_type: Arc<str>,
    pages: Pages<String>,
}

impl Ids {
    pub(crate) fn new(scope: Scope, aggregate_type: &str) -> Ids {
        Ids { scope, aggregate_type: aggregate_type.into(), pages: Pages::new() }
    }

    /// Starts after this id, whether or not there is such an aggregate: for a list that is shown page by page.
    pub fn after(mut self, aggregate_id: impl fmt::Display) -> Ids {
        self.pages.start_after(aggregate_id.to_string());
        self
    }
}

impl Iterator for Ids {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let Ids { scope, aggregate_type, pages } = self;
        let read = |after: Option<&str>, room| scope.engine().ids(&scope.tenant, aggregate_type, after, room);
        pages.next(String::as_str, |after, room| read(after, room).map_err(|error| error.during("ids")))
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("aggregate_type", &self.aggregate_type).finish_non_exhaustive()
    }
}

/// Documents with their keys, in the order of the keys; see [`Store::documents`](crate::Store::documents). Between two pages
/// nothing is held open. After an error the iterator ends.
#[derive(Clone)]
#[must_use = "an iterator does nothing until it is asked for the next item"]
pub struct DocumentIter {
    scope: Scope,
    name: Arc<str>,
    pages: Pages<(String, Json)>,
}

impl DocumentIter {
    pub(crate) fn new(scope: Scope, name: &str) -> DocumentIter {
        DocumentIter { scope, name: name.into(), pages: Pages::new() }
    }

    /// Starts after this key, whether or not there is such a document.
    pub fn after(mut self, key: impl fmt::Display) -> DocumentIter {
        self.pages.start_after(key.to_string());
        self
    }
}

impl Iterator for DocumentIter {
    type Item = Result<(String, Json)>;

    fn next(&mut self) -> Option<Result<(String, Json)>> {
        let DocumentIter { scope, name, pages } = self;
        let read = |after: Option<&str>, room| {
            let page = scope.engine().documents(name, &scope.tenant, after, room).map_err(|error| error.during("documents"))?;
            Ok(page.into_iter().map(|(key, text)| (key, Json::stored(text))).collect())
        };
        pages.next(|(key, _)| key, read)
    }
}

impl fmt::Debug for DocumentIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentIter").field("name", &self.name).finish_non_exhaustive()
    }
}
