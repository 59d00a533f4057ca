//! What pages need that takes more than one call of the store. Nothing here knows HTML.

pub(crate) mod aggregates;
pub(crate) mod causes;
pub(crate) mod contents;
pub(crate) mod days;
pub(crate) mod health;
pub(crate) mod search;
pub(crate) mod trend;
pub(crate) mod verify;
pub(crate) mod window;
