//! Parts of pages. Everything is escaped by the templates; nothing here writes HTML as text.

pub(crate) mod chart;
pub(crate) mod json;
pub(crate) mod link;
pub(crate) mod number;
pub(crate) mod text;
pub(crate) mod time;
