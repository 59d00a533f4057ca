//! JSON as the pages show it: in the order and with the digits in which it is stored.

mod compare;
mod node;

pub(crate) use compare::{Change, Comparison, Mark, Row, Side, compare};
pub(crate) use node::Node;
