//! Just enough HTTP/1.1 for one developer's browser: every connection closed after its answer, a limit on each wait and each
//! buffer. It knows nothing of what is served.

mod answer;
mod gate;
mod request;

use std::collections::HashMap;
use std::fmt;
use std::io::{ErrorKind as IoKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) use answer::{Answer, Body};
pub(crate) use gate::{Gate, same, secret};
pub(crate) use request::{Request, encode};

use crate::ServeError;
use crate::app::App;

/// A client that takes longer than this to send its request or to read an answer is dropped.
const MOST_WAIT: Duration = Duration::from_secs(5);
/// The most connections at a time; more are closed at once.
const MOST_CLIENTS: usize = 48;
/// The most connections that wait for news. Browsers open six to one host, over all tabs.
const MOST_LIVE: usize = 12;
/// The most requests that are worked on at a time. The others wait.
const MOST_AT_WORK: usize = 4;

/// A running inspector. Dropping it stops it, closes its connections and waits for its threads.
pub struct Server {
    address: SocketAddr,
    url: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    app: App,
    gate: Gate,
    stopped: AtomicBool,
    clients: Mutex<HashMap<u64, Client>>,
    at_work: Mutex<usize>,
    work_done: Condvar,
}

struct Client {
    stream: TcpStream,
    is_live: bool,
}

impl Server {
    /// The address it listens on, with the chosen port if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address to open in a browser, with the token that lets it in. Whoever knows it can read the store.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token.
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for client in self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner).values() {
            // It may already be closed, which is fine.
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        // The thread waits for a client, so this connects as one. If even that fails, the thread ends with the process.
        if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

pub(crate) fn serve(address: impl ToSocketAddrs, app: App) -> Result<Server, ServeError> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(ServeError::Listen)?.collect();
    if let Some(outside) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        return Err(ServeError::NotLoopback(*outside));
    }
    let listener = TcpListener::bind(addresses.as_slice()).map_err(ServeError::Listen)?;
    let address = listener.local_addr().map_err(ServeError::Listen)?;
    let gate = Gate::new(address.port());
    let url = format!("http://{address}/?token={}", gate.token());
    let shared = Arc::new(Shared {
        app,
        gate,
        stopped: AtomicBool::new(false),
        clients: Mutex::default(),
        at_work: Mutex::default(),
        work_done: Condvar::new(),
    });
    let of_thread = shared.clone();
    // The first count of a large file takes longest; nobody should wait for it. If it fails, the page says why.
    let early = Arc::downgrade(&shared);
    let _ = std::thread::Builder::new().name("foldlog-inspector-watch".to_owned()).spawn(move || watch(&early));
    let thread = std::thread::Builder::new()
        .name("foldlog-inspector".to_owned())
        .spawn(move || accept(&listener, &of_thread))
        .map_err(ServeError::Listen)?;
    Ok(Server { address, url, shared, thread: Some(thread) })
}

/// What goes on between requests, until the server ends.
fn watch(shared: &Weak<Shared>) {
    if let Some(shared) = shared.upgrade() {
        shared.app.count_early();
    }
    while let Some(shared) = shared.upgrade().filter(|shared| !shared.stopped.load(Ordering::SeqCst)) {
        shared.app.watch_readers();
        drop(shared);
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    // The end of the scope waits for the clients' threads.
    std::thread::scope(|scope| {
        let mut number = 0;
        loop {
            let accepted = listener.accept();
            if shared.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok((mut stream, _)) = accepted else {
                // Out of file descriptors, or the client has already gone. The pause keeps this loop from spinning.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            number += 1;
            if !shared.admit(number, &stream) {
                continue;
            }
            let started =
                std::thread::Builder::new().name("foldlog-inspector-client".to_owned()).spawn_scoped(scope, move || {
                    // Errors here are the client's: it went away or took too long.
                    let _ = talk(&mut stream, number, shared);
                    shared.forget(number);
                });
            if started.is_err() {
                shared.forget(number);
            }
        }
    });
}

impl Shared {
    fn admit(&self, number: u64, stream: &TcpStream) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        match stream.try_clone() {
            Ok(stream) if clients.len() < MOST_CLIENTS => clients.insert(number, Client { stream, is_live: false }).is_none(),
            _ => false,
        }
    }

    /// Marks a client as one that waits for news; not if there are too many.
    fn make_live(&self, number: u64) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let there_is_room = clients.values().filter(|client| client.is_live).count() < MOST_LIVE;
        match clients.get_mut(&number) {
            Some(client) if there_is_room => {
                client.is_live = true;
                true
            }
            _ => false,
        }
    }

    fn forget(&self, number: u64) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Works on a request when it is its turn. A panic, which only a fold of the application can cause, becomes an answer.
    fn work(&self, request: &Request) -> Answer {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        while *at_work >= MOST_AT_WORK {
            at_work = self.work_done.wait(at_work).unwrap_or_else(PoisonError::into_inner);
        }
        *at_work += 1;
        drop(at_work);
        let answer = catch_unwind(AssertUnwindSafe(|| self.gate.answer(request, &self.app)));
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.work_done.notify_one();
        answer.unwrap_or_else(|_| Answer::text(500, "a fold of the application panicked on this page; the store is unharmed\n"))
    }
}

fn talk(stream: &mut TcpStream, number: u64, shared: &Shared) -> std::io::Result<()> {
    let mut answer = match Request::read(stream, Instant::now() + MOST_WAIT) {
        Ok(request) => shared.work(&request),
        Err(request::Unreadable::Status(status, why)) => Answer::text(status, why),
        Err(request::Unreadable::Io(error)) if matches!(error.kind(), IoKind::WouldBlock | IoKind::TimedOut) => {
            Answer::text(408, "the request did not come\n")
        }
        Err(request::Unreadable::Io(error)) => return Err(error),
    };
    if matches!(answer.body, Body::Live(_)) && !shared.make_live(number) {
        answer = Answer::text(503, "too many pages wait for news\n");
    }
    let head = answer.head();
    send(stream, head.as_bytes())?;
    match answer.body {
        Body::None => {}
        Body::Bytes(bytes) => send(stream, &bytes)?,
        Body::Live(mut news) => {
            while !shared.stopped.load(Ordering::SeqCst) {
                send(stream, news().as_bytes())?;
            }
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // Closing before the client's bytes are read would destroy the answer on its way.
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut unread = [0; 4_096];
    for _ in 0..16 {
        if stream.read(&mut unread)? == 0 {
            break;
        }
    }
    Ok(())
}

fn send(stream: &mut TcpStream, mut rest: &[u8]) -> std::io::Result<()> {
    let deadline = Instant::now() + MOST_WAIT;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(rest)? {
            0 => return Err(IoKind::WriteZero.into()),
            written => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// The time left until the deadline; never zero, which would mean "no time-out".
fn left(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(IoKind::TimedOut.into()) } else { Ok(left) }
}
