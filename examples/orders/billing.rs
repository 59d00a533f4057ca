//! The other side: a billing service with a web address. It is down at first, and then refuses one order until it is
//! mended. It keeps what it has accepted, each event once, as a receiver should: by the id that comes with it.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

/// What it makes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    pub order: String,
    pub what: String,
}

#[derive(Default)]
struct State {
    down_for: u32,
    refused_order: Option<String>,
    seen: HashSet<String>,
    bookings: Vec<Booking>,
    requests: u32,
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
    pub fn start(down_for: u32, refused_order: &str) -> io::Result<Billing> {
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

    pub fn bookings(&self) -> Vec<Booking> {
        self.with(|state| state.bookings.clone())
    }

    pub fn requests(&self) -> u32 {
        self.with(|state| state.requests)
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
    let status = book(event, &mut state.lock().unwrap_or_else(PoisonError::into_inner));
    write!(reader.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn book(event: CloudEvent, state: &mut State) -> &'static str {
    state.requests += 1;
    if state.down_for > 0 {
        state.down_for -= 1;
        return "503 Service Unavailable";
    }
    if state.refused_order.as_ref() == Some(&event.subject) {
        return "422 Unprocessable Content";
    }
    if state.seen.insert(event.id) {
        state.bookings.push(Booking { order: event.subject, what: event.r#type });
    }
    "204 No Content"
}
