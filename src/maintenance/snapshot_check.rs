//! Folds that compare their snapshots with the events, before a removal relies on them.

use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::fold::sealed::Fold;
use crate::state::{compare, replay};
use crate::storage::snapshots::SnapshotRow;
use crate::storage::upkeep::TrustedFold;

/// Whether an error says nothing about the snapshots: the file could not be read just now.
fn is_of_the_machine(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Busy | ErrorKind::DiskFull | ErrorKind::FileMoved | ErrorKind::Forked)
}

/// A fold that compares its snapshots with the events.
pub(crate) trait SnapshotCheck: Send + Sync {
    fn aggregate_type(&self) -> &str;
    /// The fold, with the versions of its snapshots of an aggregate that agree; or why none of them can be trusted.
    fn trusted(&self, scope: &Scope, aggregate_id: &str) -> Result<Result<TrustedFold, String>>;
}

impl<F: Fold + Send + Sync> SnapshotCheck for F {
    fn aggregate_type(&self) -> &str {
        Fold::aggregate_type(self)
    }

    fn trusted(&self, scope: &Scope, aggregate_id: &str) -> Result<Result<TrustedFold, String>> {
        let id = replay::fold_id(self);
        let of = |reason: String| format!("fold {:?} version {}: {reason}", id.name, id.version);
        let rows = scope.engine().snapshots(&scope.tenant, Fold::aggregate_type(self), aggregate_id);
        let rows = match rows {
            Err(error) if is_of_the_machine(&error) => return Err(error),
            Err(error) => return Ok(Err(of(error.detail().to_owned()))),
            Ok(rows) => rows,
        };
        let own: Vec<SnapshotRow> = rows.into_iter().filter(|row| row.is_intact && row.fold() == id).collect();
        let mut versions = Vec::new();
        if !own.is_empty() {
            let compared = match compare::compare(scope, self, aggregate_id, own) {
                Err(error) if is_of_the_machine(&error) => return Err(error),
                Err(error) => return Ok(Err(of(compare::reason(&error)))),
                Ok(compared) => compared,
            };
            if let (Some((version, why)), true) = (compared.wrong.first(), compared.trusted.is_empty()) {
                return Ok(Err(of(format!("the snapshot at version {version} cannot be trusted: {why}"))));
            }
            versions = compared.trusted;
        }
        Ok(Ok(TrustedFold { name: id.name.to_owned(), version: id.version, fingerprint: id.fingerprint, versions }))
    }
}
