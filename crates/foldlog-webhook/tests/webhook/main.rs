//! The webhook against a real HTTP server, in the clear and over TLS.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[cfg(feature = "tls")]
#[path = "../../../../tests/common/certificates.rs"]
mod certificates;
mod http_server;
#[path = "../../../../tests/common/orders.rs"]
mod orders;
mod publishing;
#[cfg(feature = "tls")]
mod tls;
