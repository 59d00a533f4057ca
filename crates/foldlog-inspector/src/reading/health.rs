//! The readers of the log and how they are.

use std::cmp::Reverse;

use foldlog::{DEFAULT_TENANT, Filter, Outbox, OutboxStatus, Result, Store, SubscriptionKind, SubscriptionStatus};

use crate::app::App;

/// All readers that are shown, the worst first.
pub(crate) struct Readers {
    pub(crate) all: Vec<Reader>,
    /// The position of the newest event.
    pub(crate) last: u64,
}

pub(crate) struct Reader {
    /// `None` if it reads the events of all tenants.
    pub(crate) tenant: Option<String>,
    pub(crate) status: SubscriptionStatus,
    pub(crate) outbox: Option<OutboxStatus>,
}

/// How a reader is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    Stopped,
    HasDeadLetters,
    Paused,
    NotLed,
    Behind,
    UpToDate,
}

impl Readers {
    pub(crate) fn read(app: &App) -> Result<Readers> {
        let mut tenants = app.tenants()?;
        // A reader may be there before the first event of its tenant is.
        if !app.one_tenant && !tenants.iter().any(|tenant| tenant == DEFAULT_TENANT) {
            tenants.push(DEFAULT_TENANT.to_owned());
        }
        let mut all: Vec<Reader> = Vec::new();
        for tenant in &tenants {
            let store = app.store.tenant(tenant);
            for status in store.subscriptions()? {
                let of = (!status.all_tenants).then(|| tenant.clone());
                let is_known = of.is_none() && all.iter().any(|known| known.tenant.is_none() && known.status.name == status.name);
                if is_known || (of.is_none() && app.one_tenant) {
                    continue;
                }
                let mut reader = Reader { tenant: of, outbox: None, status };
                if reader.status.kind == SubscriptionKind::Outbox {
                    reader.outbox = Some(reader.outbox(&app.store).status()?);
                }
                all.push(reader);
            }
        }
        all.sort_by(|one, other| {
            let place = |reader: &Reader| (reader.condition(), Reverse(reader.status.lag), reader.status.name.clone());
            place(one).cmp(&place(other))
        });
        Ok(Readers { all, last: app.store.last_position()?.get() })
    }

    /// Readers that need somebody.
    pub(crate) fn troubled(&self) -> impl Iterator<Item = &Reader> {
        self.all.iter().filter(|reader| reader.condition() <= Condition::HasDeadLetters)
    }
}

impl Reader {
    pub(crate) fn condition(&self) -> Condition {
        if self.status.failure.is_some() {
            Condition::Stopped
        } else if self.dead() > 0 {
            Condition::HasDeadLetters
        } else if self.status.is_paused {
            Condition::Paused
        } else if self.status.lag == 0 {
            Condition::UpToDate
        } else if self.status.is_led {
            Condition::Behind
        } else {
            Condition::NotLed
        }
    }

    pub(crate) fn dead(&self) -> u64 {
        self.outbox.as_ref().map_or(0, |outbox| outbox.dead)
    }

    /// The state in words.
    pub(crate) fn state(&self) -> String {
        match self.condition() {
            Condition::Stopped => "stopped".to_owned(),
            Condition::HasDeadLetters => format!("{} dead", self.dead()),
            Condition::Paused => "paused".to_owned(),
            Condition::NotLed => "not led".to_owned(),
            Condition::Behind => "following".to_owned(),
            Condition::UpToDate => "up to date".to_owned(),
        }
    }

    pub(crate) fn kind(&self) -> String {
        match self.status.kind {
            SubscriptionKind::Projection if self.status.version == 0 => "projection, to be rebuilt".to_owned(),
            SubscriptionKind::Projection => format!("projection v{}", self.status.version),
            kind => kind.to_string(),
        }
    }

    /// The handle of its outbox.
    pub(crate) fn outbox(&self, store: &Store) -> Outbox {
        match &self.tenant {
            Some(tenant) => store.tenant(tenant).outbox(&self.status.name),
            None => store.outbox(&self.status.name).filter(Filter::new().all_tenants()),
        }
    }

    /// The handle of its checkpoint, whatever its kind is.
    pub(crate) fn subscription(&self, store: &Store) -> foldlog::Subscription {
        match &self.tenant {
            Some(tenant) => store.tenant(tenant).subscription(&self.status.name),
            None => store.subscription(&self.status.name).filter(Filter::new().all_tenants()),
        }
    }
}
