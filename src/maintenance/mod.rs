//! Work on a file that is not part of anybody's request.

pub(crate) mod checkpoint;
pub(crate) mod clean_up;
pub(crate) mod purge;
pub(crate) mod verify;
