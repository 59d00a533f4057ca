//! The domain: a user account, its eight events, and the decisions that lead to them.
//!
//! Nothing in here knows of files, versions or JSON. Events are plain enums with serde's derives, state is folded from
//! them in `apply`, and a decision is a pure function from the state to the events it leads to, or to a refusal.

use std::fmt;

use chrono::{DateTime, Utc};
use foldlog::Aggregate;
use serde::{Deserialize, Serialize};

/// What can happen to a user account. The variant's name is the event type in the file, its fields are the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum UserEvent {
    UserCreated {
        username: String,
        email: String,
        full_name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        phone: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant_id: Option<String>,
        role_ids: Vec<String>,
    },
    UserUpdated(Changes),
    /// That it was changed and by whom; never the password.
    PasswordChanged {
        changed_by: String,
    },
    UserDeleted {
        deleted_by: String,
    },
    LoginInfoUpdated {
        ip_address: String,
        login_at: DateTime<Utc>,
    },
    AccountLocked {
        reason: String,
        login_attempts: u32,
        locked_until: DateTime<Utc>,
    },
    AccountUnlocked {
        unlocked_by: String,
    },
    RolesAssigned {
        role_ids: Vec<String>,
        assigned_by: String,
    },
}

/// The fields of a user that can be updated; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_ids: Option<Vec<String>>,
}

/// Where an account stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not created yet: the state before the first event.
    #[default]
    None,
    Active,
    Inactive,
    Deleted,
}

/// The state of one account, as its events made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub username: String,
    pub email: String,
    pub full_name: String,
    pub phone: Option<String>,
    pub avatar: Option<String>,
    pub tenant_id: Option<String>,
    pub role_ids: Vec<String>,
    pub status: Status,
    pub login_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<DateTime<Utc>>,
    pub last_login_at: Option<DateTime<Utc>>,
    pub last_login_ip: Option<String>,
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Event = UserEvent;

    fn apply(&mut self, event: UserEvent) {
        match event {
            UserEvent::UserCreated { username, email, full_name, phone, tenant_id, role_ids } => {
                *self =
                    User { username, email, full_name, phone, tenant_id, role_ids, status: Status::Active, ..User::default() };
            }
            UserEvent::UserUpdated(changes) => self.merge(changes),
            // The state holds nothing of a password. The event is there for the audit trail.
            UserEvent::PasswordChanged { .. } => {}
            UserEvent::UserDeleted { .. } => self.status = Status::Deleted,
            UserEvent::LoginInfoUpdated { ip_address, login_at } => {
                self.last_login_ip = Some(ip_address);
                self.last_login_at = Some(login_at);
                self.login_attempts = 0;
            }
            UserEvent::AccountLocked { login_attempts, locked_until, .. } => {
                self.login_attempts = login_attempts;
                self.locked_until = Some(locked_until);
            }
            UserEvent::AccountUnlocked { .. } => {
                self.login_attempts = 0;
                self.locked_until = None;
            }
            UserEvent::RolesAssigned { role_ids, .. } => self.role_ids = role_ids,
        }
    }
}

/// The decisions. Each looks at the state and returns the events, without doing anything: `execute` appends them.
impl User {
    pub fn create(&self, username: &str, email: &str, full_name: &str) -> Result<Vec<UserEvent>, AccountError> {
        if self.status != Status::None {
            return Err(AccountError::AlreadyExists);
        }
        Ok(vec![UserEvent::UserCreated {
            username: username.to_owned(),
            email: email.to_owned(),
            full_name: full_name.to_owned(),
            phone: None,
            tenant_id: None,
            role_ids: vec!["member".to_owned()],
        }])
    }

    pub fn update(&self, changes: Changes) -> Result<Vec<UserEvent>, AccountError> {
        self.must_be_usable()?;
        Ok(vec![UserEvent::UserUpdated(changes)])
    }

    pub fn log_in(&self, ip_address: &str, now: DateTime<Utc>) -> Result<Vec<UserEvent>, AccountError> {
        self.must_be_usable()?;
        match self.locked_until {
            Some(until) if now < until => Err(AccountError::Locked { until }),
            _ => Ok(vec![UserEvent::LoginInfoUpdated { ip_address: ip_address.to_owned(), login_at: now }]),
        }
    }

    pub fn lock(&self, reason: &str, login_attempts: u32, until: DateTime<Utc>) -> Result<Vec<UserEvent>, AccountError> {
        self.must_be_usable()?;
        Ok(vec![UserEvent::AccountLocked { reason: reason.to_owned(), login_attempts, locked_until: until }])
    }

    /// An account that is not locked needs no event: a decision may well lead to nothing.
    pub fn unlock(&self, unlocked_by: &str) -> Result<Vec<UserEvent>, AccountError> {
        self.must_be_usable()?;
        Ok(self.locked_until.map(|_| UserEvent::AccountUnlocked { unlocked_by: unlocked_by.to_owned() }).into_iter().collect())
    }

    pub fn assign_roles(&self, role_ids: &[&str], assigned_by: &str) -> Result<Vec<UserEvent>, AccountError> {
        self.must_be_usable()?;
        let role_ids = role_ids.iter().map(|role| role.to_string()).collect();
        Ok(vec![UserEvent::RolesAssigned { role_ids, assigned_by: assigned_by.to_owned() }])
    }

    pub fn delete(&self, deleted_by: &str) -> Result<Vec<UserEvent>, AccountError> {
        self.must_be_usable()?;
        Ok(vec![UserEvent::UserDeleted { deleted_by: deleted_by.to_owned() }])
    }

    fn must_be_usable(&self) -> Result<(), AccountError> {
        match self.status {
            Status::None => Err(AccountError::NoSuchUser),
            Status::Deleted => Err(AccountError::Deleted),
            Status::Active | Status::Inactive => Ok(()),
        }
    }

    fn merge(&mut self, changes: Changes) {
        let Changes { email, full_name, phone, avatar, status, role_ids } = changes;
        self.email = email.unwrap_or_else(|| std::mem::take(&mut self.email));
        self.full_name = full_name.unwrap_or_else(|| std::mem::take(&mut self.full_name));
        self.phone = phone.or_else(|| self.phone.take());
        self.avatar = avatar.or_else(|| self.avatar.take());
        self.status = status.unwrap_or(self.status);
        self.role_ids = role_ids.unwrap_or_else(|| std::mem::take(&mut self.role_ids));
    }
}

/// Why a decision was refused. `execute` hands it back as `ExecuteError::Decision`, apart from the store's own errors.
#[derive(Debug, PartialEq)]
pub enum AccountError {
    AlreadyExists,
    NoSuchUser,
    Deleted,
    Locked { until: DateTime<Utc> },
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccountError::AlreadyExists => f.write_str("the user exists already"),
            AccountError::NoSuchUser => f.write_str("there is no such user"),
            AccountError::Deleted => f.write_str("the user is deleted"),
            AccountError::Locked { until } => write!(f, "the account is locked until {}", until.format("%F %T UTC")),
        }
    }
}

impl std::error::Error for AccountError {}
