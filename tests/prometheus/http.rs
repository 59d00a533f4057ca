//! The server of /metrics: right answers, bounded patience, a clean end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use foldlog::ErrorKind;
use foldlog::prometheus::Server;

use crate::exporter;

fn server() -> Server {
    exporter().serve("127.0.0.1:0").unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn get_and_head_of_metrics() {
    let server = server();
    let store = foldlog::Store::in_memory().unwrap();
    store.append("account", "http-1", 0, [foldlog::NewEvent::new("Opened", &()).unwrap()]).unwrap();
    let answer = ask(server.address(), "GET /metrics HTTP/1.1\r\nHost: localhost:9464\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(status(head), "200");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert!(head.contains("\r\nConnection: close"), "{head}");
    assert!(body.contains("event_store_events_total{"), "{body}");
    let answer = ask(server.address(), "HEAD /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(status(&answer), "200");
    assert!(answer.ends_with("\r\n\r\n"), "a body where none belongs");
}

#[test]
fn everything_else_is_refused() {
    let server = server();
    let of = |request: &str| status(&ask(server.address(), request)).to_owned();
    assert_eq!(of("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "404");
    assert_eq!(of("GET /metricsandmore HTTP/1.1\r\nHost: localhost\r\n\r\n"), "404");
    assert_eq!(of("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"), "405");
    assert_eq!(of("DELETE /metrics HTTP/1.1\r\n\r\n"), "405");
    for nonsense in
        ["\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n", "GET  /metrics HTTP/1.1\r\n\r\n", "GET /metrics HTTP/2\r\n\r\n"]
    {
        assert_eq!(of(nonsense), "400", "{nonsense:?}");
    }
    assert_eq!(of("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"), "400");
    let large = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(of(&large), "431");
}

#[test]
fn bytes_that_are_no_text_are_refused_and_harm_nobody() {
    let server = server();
    let mut stream = connect(server.address());
    stream.write_all(b"\xff\xfe\x00\x80GET\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "400");
    drop(connect(server.address()));
    assert_eq!(status(&ask(server.address(), "GET /metrics HTTP/1.0\r\n\r\n")), "200");
}

/// A web page can let its own name resolve to a loopback address; its requests then carry that name.
#[test]
fn a_foreign_host_name_is_refused_on_loopback_and_only_there() {
    let server = server();
    let of = |address, host: &str| status(&ask(address, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"))).to_owned();
    for host in ["localhost", "LOCALHOST:1234", "127.0.0.1", "127.0.0.1:9464", "[::1]", "[::1]:9464"] {
        assert_eq!(of(server.address(), host), "200", "{host}");
    }
    for host in ["evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example:9464", ""] {
        assert_eq!(of(server.address(), host), "421", "{host}");
    }
    let everywhere = exporter().serve("0.0.0.0:0").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], everywhere.address().port()));
    assert_eq!(of(address, "metrics.internal:9464"), "200");
}

#[test]
fn slow_clients_do_not_keep_the_scraper_out_and_are_let_go() {
    let server = server();
    let mut slow: Vec<_> = (0..7).map(|_| connect(server.address())).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"GET /met").unwrap());
    assert_eq!(status(&ask(server.address(), "GET /metrics HTTP/1.1\r\n\r\n")), "200");
    // The eighth: one more has to come back later.
    slow.push(connect(server.address()));
    let started = Instant::now();
    let answer = loop {
        // The thread of the client before may take a moment to end.
        let answer = ask(server.address(), "GET /metrics HTTP/1.1\r\n\r\n");
        if status(&answer) == "503" || started.elapsed() > Duration::from_secs(3) {
            break answer;
        }
    };
    assert_eq!(status(&answer), "503");
    let mut answer = String::new();
    slow[0].read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "408");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn dropping_the_server_ends_it_at_once_whoever_is_connected() {
    let server = server();
    let address = server.address();
    let mut idle = connect(address);
    idle.write_all(b"GET /met").unwrap();
    assert_eq!(status(&ask(address, "GET /metrics HTTP/1.1\r\n\r\n")), "200");
    let started = Instant::now();
    drop(server);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(TcpStream::connect(address).is_err(), "still listening");
    let mut rest = Vec::new();
    assert!(idle.read_to_end(&mut rest).is_err() || rest.is_empty(), "the connection was closed");
    let again = exporter().serve(address).unwrap();
    assert_eq!(status(&ask(again.address(), "GET /metrics HTTP/1.1\r\n\r\n")), "200");
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = exporter().serve(taken.local_addr().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.operation(), Some("serve metrics"));
}
