//! The audit chain: digests to keep elsewhere, and their check.

use crate::log::scope::Scope;
use crate::model::audit_digest::AuditDigest;
use crate::model::error::{Error, ErrorKind, Result};

pub(crate) fn checkpoint_digest(scope: &Scope) -> Result<Option<AuditDigest>> {
    scope.engine().chain_end()
}

pub(crate) fn check_digest(scope: &Scope, kept: &AuditDigest) -> Result<()> {
    let position = kept.position;
    let what = match scope.engine().chain_at(position.get())? {
        Some(found) if found == *kept => return Ok(()),
        Some(_) => format!("the log up to position {position} is not the one that the digest was made of"),
        None if scope.engine().chain_end()?.is_none() => "the file has no audit chain".to_owned(),
        None => format!("the audit chain has no link at position {position}"),
    };
    Err(Error::new(ErrorKind::Corrupt, what)
        .at_position(position)
        .advice("the file was changed or replaced: keep it, and restore a backup that the digest fits"))
}
