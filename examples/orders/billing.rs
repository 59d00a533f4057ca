//! The other side: a billing service with a web address. It is down at first, and then refuses one order until it is
//! mended. It books each event once, as a receiver should: it knows an event by the id that comes with it.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

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
    seen: HashSet<String>,
    /// Order and event.
    bookings: Vec<(String, String)>,
    requests: Vec<Request>,
}

/// The part of a CloudEvent that matters here.
#[derive(Deserialize)]
struct CloudEvent {
    id: String,
    subject: String,
    r#type: String,
}

pub struct Billing {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Billing {
    /// Starts it: the first requests get a 503, and those about one order a 422.
    pub fn start(down_for: usize, refused_order: &str) -> io::Result<Billing> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = State { down_for, refused_order: Some(refused_order.to_owned()), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let of_thread = state.clone();
        // It ends with the program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away does not stop the service.
                let _ = answer(stream, &of_thread);
            }
        });
        Ok(Billing { address, state })
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
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
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let event: CloudEvent = serde_json::from_slice(&body)?;
    let status = receive(event, &mut state.lock().unwrap_or_else(PoisonError::into_inner));
    write!(reader.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn receive(event: CloudEvent, state: &mut State) -> &'static str {
    let answer = if state.down_for > 0 {
        state.down_for -= 1;
        "503 Service Unavailable"
    } else if state.refused_order.as_ref() == Some(&event.subject) {
        "422 Unprocessable Content"
    } else {
        if state.seen.insert(event.id) {
            state.bookings.push((event.subject.clone(), event.r#type.clone()));
        }
        "204 No Content"
    };
    state.requests.push(Request { order: event.subject, what: event.r#type, answer });
    answer
}
