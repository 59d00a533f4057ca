//! The application as it was in its first year.

use foldlog::Aggregate;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub enum CustomerEvent {
    Registered { name: String, mail: String },
    Paid { euros: f64 },
}

#[derive(Default, Serialize, Deserialize)]
pub struct Customer {
    mail: String,
    paid: f64,
}

impl Aggregate for Customer {
    const TYPE: &'static str = "customer";
    type Event = CustomerEvent;

    fn apply(&mut self, event: CustomerEvent) {
        match event {
            CustomerEvent::Registered { mail, .. } => self.mail = mail,
            CustomerEvent::Paid { euros } => self.paid += euros,
        }
    }
}
