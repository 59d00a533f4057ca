//! The second version: amounts became whole cents.

use foldlog::{Aggregate, Upcasters};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub enum CustomerEvent {
    Registered { name: String, mail: String },
    Paid { cents: i64 },
}

#[derive(Default, Serialize, Deserialize)]
pub struct Customer {
    mail: String,
    paid_cents: i64,
}

impl Aggregate for Customer {
    const TYPE: &'static str = "customer";
    const FOLD_VERSION: u32 = 2;
    type Event = CustomerEvent;

    fn apply(&mut self, event: CustomerEvent) {
        match event {
            CustomerEvent::Registered { mail, .. } => self.mail = mail,
            CustomerEvent::Paid { cents } => self.paid_cents += cents,
        }
    }
}

#[derive(Deserialize)]
struct InEuros {
    euros: f64,
}

#[derive(Serialize)]
struct InCents {
    cents: i64,
}

impl From<InEuros> for InCents {
    fn from(InEuros { euros }: InEuros) -> InCents {
        InCents { cents: (euros * 100.0).round() as i64 }
    }
}

pub fn upcasters() -> Upcasters {
    Upcasters::new().convert::<InEuros, InCents>("Paid", 1)
}
