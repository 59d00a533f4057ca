//! The publisher against a real NATS server, in the clear and over TLS.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../../../../tests/common/certificates.rs"]
mod certificates;
mod impostor;
#[path = "../../../../tests/common/orders.rs"]
mod orders;
mod publishing;
mod server;
mod tls;
