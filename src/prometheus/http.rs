//! Just enough HTTP/1.1 for a scraper: one resource, GET and HEAD, every connection closed after its answer, a limit on
//! each wait and each buffer.

use std::collections::HashMap;
use std::fmt;
use std::io::{ErrorKind as IoKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::spawn;
use crate::model::error::{Error, ErrorKind, Result};

/// The longest request line and headers together.
const MOST_HEAD_BYTES: usize = 8 << 10;
/// A client that takes longer than this to send its request or to read the answer is dropped.
const MOST_WAIT: Duration = Duration::from_secs(5);
/// The most clients at a time; more are told to come back. Slow clients must not keep the scraper out.
const MOST_CLIENTS: usize = 8;
const PLAIN: &str = "text/plain; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A running metrics server. Dropping it stops it, closes its connections and waits for its thread.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    render: Box<dyn Fn() -> String + Send + Sync>,
    loopback: bool,
    stopped: AtomicBool,
    clients: Mutex<HashMap<u64, TcpStream>>,
}

impl Server {
    /// The address it listens on, with the chosen port if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for client in self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner).values() {
            // It may already be closed, which is fine.
            let _ = client.shutdown(Shutdown::Both);
        }
        // The thread waits for a client, so this connects as one. If even that fails, the thread ends with the process.
        if TcpStream::connect_timeout(&reachable(self.address), Duration::from_secs(1)).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// An address under which a listener on `address` can be reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

pub(super) fn serve(address: impl ToSocketAddrs, render: impl Fn() -> String + Send + Sync + 'static) -> Result<Server> {
    let io = |error: std::io::Error| Error::new(ErrorKind::Io, "cannot listen on the address").caused_by(error);
    let listener = TcpListener::bind(address).map_err(io)?;
    let address = listener.local_addr().map_err(io)?;
    let shared = Arc::new(Shared {
        render: Box::new(render),
        loopback: address.ip().is_loopback(),
        stopped: AtomicBool::new(false),
        clients: Mutex::default(),
    });
    let of_thread = shared.clone();
    let thread = spawn("foldlog-metrics-http", move || accept(&listener, &of_thread))?;
    Ok(Server { address, shared, thread: Some(thread) })
}

fn accept(listener: &TcpListener, shared: &Shared) {
    // The end of the scope waits for the clients' threads; each has a deadline.
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
                turn_away(&mut stream);
                continue;
            }
            let started = std::thread::Builder::new().name("foldlog-metrics-client".to_owned()).spawn_scoped(scope, move || {
                // Errors here are the client's: it went away or took too long.
                let _ = talk(&mut stream, shared);
                shared.forget(number);
            });
            if started.is_err() {
                shared.forget(number);
            }
        }
    });
}

/// Tells a client that there are too many. Waits only shortly, because this thread accepts the others.
fn turn_away(stream: &mut TcpStream) {
    let wait = Some(Duration::from_millis(100));
    let _ = stream.set_read_timeout(wait).and_then(|()| stream.set_write_timeout(wait));
    // Closing before the request is read would destroy the answer on its way.
    let _ = stream.read(&mut [0; 4_096]);
    let _ = stream.write_all(&Answer::plain(503, "Service Unavailable", "too many clients\n").bytes(false));
}

impl Shared {
    fn admit(&self, number: u64, stream: &TcpStream) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        match stream.try_clone() {
            Ok(stream) if clients.len() < MOST_CLIENTS => clients.insert(number, stream).is_none(),
            _ => false,
        }
    }

    fn forget(&self, number: u64) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}

fn talk(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<()> {
    let deadline = Instant::now() + MOST_WAIT;
    let (answer, is_head) = match read_head(stream, deadline) {
        Ok(head) => answer(&head, shared),
        Err(error) if error.kind() == IoKind::InvalidData => {
            (Answer::plain(431, "Request Header Fields Too Large", "the request is too large\n"), false)
        }
        Err(error) if matches!(error.kind(), IoKind::WouldBlock | IoKind::TimedOut) => {
            (Answer::plain(408, "Request Timeout", "the request did not come\n"), false)
        }
        Err(error) => return Err(error),
    };
    let bytes = answer.bytes(is_head);
    let mut rest = bytes.as_slice();
    let deadline = Instant::now() + MOST_WAIT;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(rest)? {
            0 => return Err(IoKind::WriteZero.into()),
            written => rest = rest.get(written..).unwrap_or_default(),
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

/// The time left until the deadline; never zero, which would mean "no time-out".
fn left(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(IoKind::TimedOut.into()) } else { Ok(left) }
}

/// Reads up to the empty line that ends the headers.
fn read_head(stream: &mut TcpStream, deadline: Instant) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1_024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(IoKind::UnexpectedEof.into());
        }
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            head.truncate(end);
            return Ok(head);
        }
        if head.len() > MOST_HEAD_BYTES {
            return Err(IoKind::InvalidData.into());
        }
    }
}

/// The answer to a request, and whether to send it without its body.
fn answer(head: &[u8], shared: &Shared) -> (Answer, bool) {
    let bad = || (Answer::plain(400, "Bad Request", "this is not an HTTP/1 request\n"), false);
    let Ok(head) = std::str::from_utf8(head) else { return bad() };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return bad();
    };
    if !version.starts_with("HTTP/1.") {
        return bad();
    }
    let mut hosts = lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = hosts.next().map(|(_, host)| host.trim());
    if hosts.next().is_some() {
        return bad();
    }
    let is_head = method == "HEAD";
    if shared.loopback && !host.is_none_or(is_local) {
        return (Answer::plain(421, "Misdirected Request", "this server answers to localhost only\n"), is_head);
    }
    if !is_head && method != "GET" {
        let mut answer = Answer::plain(405, "Method Not Allowed", "GET or HEAD\n");
        answer.allow = true;
        return (answer, false);
    }
    match target.split('?').next() {
        Some("/metrics") => (Answer { body: (shared.render)(), kind: EXPOSITION, ..Answer::plain(200, "OK", "") }, is_head),
        _ => (Answer::plain(404, "Not Found", "the metrics are at /metrics\n"), is_head),
    }
}

/// Whether a Host header names this machine without a name server. Otherwise a web page could have its own name resolve
/// to a loopback address and read the metrics.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

struct Answer {
    status: u16,
    reason: &'static str,
    kind: &'static str,
    allow: bool,
    body: String,
}

impl Answer {
    fn plain(status: u16, reason: &'static str, body: &str) -> Answer {
        Answer { status, reason, kind: PLAIN, allow: false, body: body.to_owned() }
    }

    fn bytes(&self, is_head: bool) -> Vec<u8> {
        let Answer { status, reason, kind, body, .. } = self;
        let length = body.len();
        let allow = if self.allow { "Allow: GET, HEAD\r\n" } else { "" };
        let mut text = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}\
             X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
        if !is_head {
            text.push_str(body);
        }
        text.into_bytes()
    }
}
