//! Requests byte for byte, without a browser.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use foldlog_inspector::Server;

/// What came back.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends these bytes and reads to the end.
pub fn raw(server: &Server, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    // A server that refuses early may reset the connection after its answer.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub fn token(server: &Server) -> &str {
    server.url().split_once("token=").unwrap().1
}

pub fn cookie(server: &Server) -> String {
    format!("foldlog-{}={}", server.address().port(), token(server))
}

/// A page, as a browser that was let in asks for it.
pub fn get(server: &Server, path: &str) -> Answer {
    let (address, cookie) = (server.address(), cookie(server));
    raw(server, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n").as_bytes())
}

/// A form, as a page of the server sends it.
pub fn post(server: &Server, path: &str, form: &str) -> Answer {
    let (address, cookie, length) = (server.address(), cookie(server), form.len());
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nCookie: {cookie}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    raw(server, head.as_bytes())
}

/// The secret that the forms of a page carry.
pub fn secret(page: &Answer) -> String {
    let (_, rest) = page.body.split_once("name=\"secret\" value=\"").expect("a form");
    rest.split('"').next().unwrap().to_owned()
}
