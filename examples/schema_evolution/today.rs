//! The application as it is today. Its types know nothing of earlier shapes; the upcasters do.

use foldlog::{Aggregate, Upcasters};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum UserEvent {
    UserCreated { email: String, phone_verified: bool },
    CreditGranted { cents: i64 },
    EmailChanged { to: String },
    PhoneChanged { to: String },
    PhoneVerified,
}

impl UserEvent {
    pub fn registered(email: &str) -> UserEvent {
        UserEvent::UserCreated { email: email.to_owned(), phone_verified: false }
    }
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub email: String,
    pub phone: String,
    pub phone_is_verified: bool,
    pub credit_cents: i64,
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    const FOLD_VERSION: u32 = 2;
    type Event = UserEvent;

    fn apply(&mut self, event: UserEvent) {
        match event {
            UserEvent::UserCreated { email, phone_verified } => (self.email, self.phone_is_verified) = (email, phone_verified),
            UserEvent::CreditGranted { cents } => self.credit_cents += cents,
            UserEvent::EmailChanged { to } => self.email = to,
            UserEvent::PhoneChanged { to } => (self.phone, self.phone_is_verified) = (to, false),
            UserEvent::PhoneVerified => self.phone_is_verified = true,
        }
    }
}

/// What `CreditGranted` held once, and what it holds now.
#[derive(Deserialize)]
struct CreditInEuros {
    euros: f64,
}

#[derive(Serialize)]
struct CreditInCents {
    cents: i64,
}

impl From<CreditInEuros> for CreditInCents {
    fn from(CreditInEuros { euros }: CreditInEuros) -> CreditInCents {
        CreditInCents { cents: (euros * 100.0).round() as i64 }
    }
}

/// A rule for each change that there ever was. A rule that was released is never changed.
pub fn upcasters() -> Upcasters {
    Upcasters::new()
        .rename_field("UserCreated", 1, "mail", "email")
        .add_field("UserCreated", 2, "phoneVerified", false)
        .convert::<CreditInEuros, CreditInCents>("CreditGranted", 1)
        .split("ContactChanged", 1, [("EmailChanged", 1), ("PhoneChanged", 1)], |data| {
            let changed = |event_type, field| {
                let to = data.get(field).filter(|value| !value.is_null())?;
                Some((event_type, json!({ "to": to })))
            };
            Ok([changed("EmailChanged", "mail"), changed("PhoneChanged", "phone")].into_iter().flatten().collect())
        })
        .discard("HeartbeatSeen", 1)
}
