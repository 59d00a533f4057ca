//! Shows a foldlog store in a browser: what is in the file, what the state was at any version, why, and what is stuck.
//!
//! From inside an application, with its own folds:
//!
//! ```
//! use foldlog::{Expected, NewEvent, Store, serde_json::json};
//! use foldlog_inspector::{Folds, Inspector};
//!
//! let store = Store::in_memory()?;
//! store.append("counter", "c-1", Expected::New, [NewEvent::new("Incremented", &json!({}))?])?;
//!
//! let folds = Folds::new().json("counter", |counters| {
//!     counters.fold_with("count", 1, |state, _event_type, _data| {
//!         state["count"] = json!(state["count"].as_u64().unwrap_or(0) + 1);
//!         Ok(())
//!     })
//! });
//! let server = Inspector::new(store).folds(folds).serve("127.0.0.1:0")?;
//! println!("open {}", server.url());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Aggregates whose type has no fold in [`Folds`] are folded by JSON Merge Patch, and the page says so.
//!
//! # Safety
//! It listens on loopback addresses only and answers only requests for them, of its own pages, with the token of its
//! [`Server::url`]. It reads through a connection that cannot write; [`Inspector::allow_writes`] adds retry and discard of dead
//! letters and of stopped subscriptions. Everything from the file is escaped, and the pages' content security policy
//! forbids every script but their own.

mod app;
mod folds;
mod http;
mod json;
mod pages;
mod reading;
mod view;

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use foldlog::Store;

pub use folds::Folds;
pub use http::Server;

/// What to show, and how; [`Inspector::serve`] starts it.
#[derive(Clone, Debug)]
#[must_use = "nothing is served before `serve`"]
pub struct Inspector {
    store: Store,
    folds: Folds,
    allow_writes: bool,
    one_tenant: bool,
}

impl Inspector {
    /// Shows this store, all tenants of it.
    pub fn new(store: Store) -> Inspector {
        Inspector { store, folds: Folds::new(), allow_writes: false, one_tenant: false }
    }

    /// Replays with the application's own folds.
    pub fn folds(mut self, folds: Folds) -> Inspector {
        self.folds = folds;
        self
    }

    /// Offers what changes the file: retrying and discarding dead letters, retrying and skipping the event at which a
    /// subscription stopped. Each asks first. The store must be open for writing.
    pub fn allow_writes(mut self) -> Inspector {
        self.allow_writes = true;
        self
    }

    /// Shows only the tenant of the store's handle.
    pub fn only_its_tenant(mut self) -> Inspector {
        self.one_tenant = true;
        self
    }

    /// Starts to serve on a loopback address, such as `127.0.0.1:4711`; port 0 takes any that is free.
    ///
    /// # Errors
    /// If the address is not a loopback address, cannot be listened on, or the file cannot be opened for reading.
    pub fn serve(self, address: impl ToSocketAddrs) -> Result<Server, ServeError> {
        let app = app::App::new(self.store, self.folds, self.allow_writes, self.one_tenant).map_err(ServeError::Open)?;
        http::serve(address, app)
    }
}

/// Why the inspector could not start. Nothing is left behind.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is not one of this machine alone.
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    Listen(std::io::Error),
    /// The store's file cannot be opened for reading.
    Open(foldlog::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::NotLoopback(address) => {
                write!(f, "the inspector does not listen on {address}: it serves this machine only; use 127.0.0.1")
            }
            ServeError::Listen(error) => write!(f, "the inspector cannot listen on the address: {error}; try another port, or 0"),
            ServeError::Open(error) => write!(f, "the inspector cannot read the file: {error}"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::NotLoopback(_) => None,
            ServeError::Listen(error) => Some(error),
            ServeError::Open(error) => Some(error),
        }
    }
}
