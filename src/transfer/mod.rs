//! Events on their way between files and programs: export and import as lines of JSON.

pub(crate) mod copy;
pub(crate) mod export;
pub(crate) mod import;
mod line;
pub(crate) mod repair;
mod rows;
pub(crate) mod table;
