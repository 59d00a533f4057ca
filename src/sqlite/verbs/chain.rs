//! The audit chain, as callers see it.

use crate::model::audit_digest::AuditDigest;
use crate::model::error::Result;
use crate::model::place::Position;
use crate::sqlite::Database;
use crate::sqlite::tables::chain::{self, Link};

impl Database {
    /// Begins the audit chain, unless the file has one.
    pub(crate) fn begin_chain(&self) -> Result<()> {
        match self.read(chain::anchor)? {
            Some(_) => Ok(()),
            None => self.write_durably(chain::begin),
        }
    }

    /// The chain's end; `None` if the file has no chain.
    pub(crate) fn chain_end(&self) -> Result<Option<AuditDigest>> {
        Ok(self.read(chain::last)?.map(digest))
    }

    /// The chain's link at a position; `None` if it has none there.
    pub(crate) fn chain_at(&self, position: u64) -> Result<Option<AuditDigest>> {
        Ok(self.read(|view| chain::at(view, position))?.map(digest))
    }
}

fn digest(link: Link) -> AuditDigest {
    AuditDigest { position: Position::new(link.position), digest: link.link }
}
