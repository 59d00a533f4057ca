//! The third version: a field has another name, and another one is new.

use foldlog::{Aggregate, Upcasters};
use serde::{Deserialize, Serialize};

use super::second;

#[derive(Serialize, Deserialize)]
pub enum CustomerEvent {
    Registered { name: String, email: String, country: String },
    Paid { cents: i64 },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub name: String,
    pub email: String,
    pub country: String,
    pub paid_cents: i64,
}

impl Aggregate for Customer {
    const TYPE: &'static str = "customer";
    const FOLD_VERSION: u32 = 3;
    type Event = CustomerEvent;

    fn apply(&mut self, event: CustomerEvent) {
        match event {
            CustomerEvent::Registered { name, email, country } => {
                (self.name, self.email, self.country) = (name, email, country);
            }
            CustomerEvent::Paid { cents } => self.paid_cents += cents,
        }
    }
}

/// The second version's rules, which never change, and those for what changed since.
pub fn upcasters() -> Upcasters {
    second::upcasters().rename_field("Registered", 1, "mail", "email").add_field("Registered", 2, "country", "unknown")
}
