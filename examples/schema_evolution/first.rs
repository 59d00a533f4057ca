//! The application's first version.

use foldlog::Aggregate;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub enum UserEvent {
    UserCreated { mail: String },
    CreditGranted { euros: f64 },
    ContactChanged { mail: Option<String>, phone: Option<String> },
    HeartbeatSeen,
}

#[derive(Default, Serialize, Deserialize)]
pub struct User {
    mail: String,
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Event = UserEvent;

    fn apply(&mut self, event: UserEvent) {
        match event {
            UserEvent::UserCreated { mail } | UserEvent::ContactChanged { mail: Some(mail), .. } => self.mail = mail,
            UserEvent::CreditGranted { .. } | UserEvent::ContactChanged { .. } | UserEvent::HeartbeatSeen => {}
        }
    }
}

pub fn a_users_life() -> [UserEvent; 4] {
    [
        UserEvent::UserCreated { mail: "ada@example.com".to_owned() },
        UserEvent::CreditGranted { euros: 12.5 },
        UserEvent::HeartbeatSeen,
        UserEvent::ContactChanged { mail: Some("countess@example.com".to_owned()), phone: Some("+44 20 7946 0000".to_owned()) },
    ]
}
