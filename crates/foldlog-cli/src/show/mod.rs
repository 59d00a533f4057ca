//! What the user sees: text without control characters, tables that fit, JSON.

pub(crate) mod output;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod text;
