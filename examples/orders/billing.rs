//! The other side: a billing service. It is down at first, and then refuses one order until it is mended. It books each
//! event once, as a receiver should: it knows an event by its id.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use foldlog::{EventId, Message, PublishError};

/// A request, as the service saw it.
#[derive(Clone)]
pub struct Request {
    pub order: String,
    pub what: String,
    /// What it answered: the status's number and words.
    pub answer: &'static str,
}

#[derive(Default)]
struct State {
    down_for: usize,
    refused_order: Option<String>,
    seen: HashSet<EventId>,
    /// Order and event.
    bookings: Vec<(String, String)>,
    requests: Vec<Request>,
}

#[derive(Clone)]
pub struct Billing(Arc<Mutex<State>>);

impl Billing {
    /// The first requests get a 503, and those about one order a 422.
    pub fn new(down_for: usize, refused_order: &str) -> Billing {
        let state = State { down_for, refused_order: Some(refused_order.to_owned()), ..State::default() };
        Billing(Arc::new(Mutex::new(state)))
    }

    /// What a publisher does: hands over one event, and says whether to try again. A real one speaks HTTP, for instance by
    /// the crate foldlog-webhook.
    pub fn post(&self, message: &Message<'_>) -> Result<(), PublishError> {
        let answer = self.with(|state| state.receive(message));
        match answer.split_at(1).0 {
            "2" => Ok(()),
            "4" => Err(PublishError::Reject(format!("billing answered {answer}"))),
            _ => Err(PublishError::Retry(format!("billing answered {answer}"))),
        }
    }

    /// From now on it takes every order.
    pub fn mend(&self) {
        self.with(|state| state.refused_order = None);
    }

    /// What it has booked of an order, in its order.
    pub fn booked(&self, order: &str) -> Vec<String> {
        let of_order = |state: &mut State| {
            state.bookings.iter().filter(|(booked, _)| booked == order).map(|(_, what)| what.clone()).collect()
        };
        self.with(of_order)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.with(|state| state.requests.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn receive(&mut self, message: &Message<'_>) -> &'static str {
        let (order, what) = (message.event.aggregate_id.to_string(), message.event.event_type.to_string());
        let answer = if self.down_for > 0 {
            self.down_for -= 1;
            "503 Service Unavailable"
        } else if self.refused_order.as_ref() == Some(&order) {
            "422 Unprocessable Content"
        } else {
            if self.seen.insert(message.id()) {
                self.bookings.push((order.clone(), what.clone()));
            }
            "204 No Content"
        };
        self.requests.push(Request { order, what, answer });
        answer
    }
}
