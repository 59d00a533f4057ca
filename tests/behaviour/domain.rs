//! A small account, as an application would write it.

use foldlog::Aggregate;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AccountEvent {
    Opened { owner: String },
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
    Closed,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub owner: String,
    pub cents: u64,
    pub closed: bool,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Opened { owner } => self.owner = owner,
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
            AccountEvent::Closed => self.closed = true,
        }
    }
}

pub fn opened() -> AccountEvent {
    AccountEvent::Opened { owner: "Ada".to_owned() }
}

pub fn deposits(count: u64) -> Vec<AccountEvent> {
    (0..count).map(|_| AccountEvent::Deposited { cents: 1 }).collect()
}
