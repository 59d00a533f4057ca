//! A request: read with limits, and taken apart.

use std::io::Read;
use std::net::TcpStream;
use std::time::Instant;

use super::left;

/// The longest request line and headers together.
const MOST_HEAD_BYTES: usize = 32 << 10;
/// The longest form.
const MOST_BODY_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 64;

/// A request as the pages see it.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As it was sent: still encoded.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) host: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) cookies: String,
    /// The fields of a form.
    pub(crate) form: Vec<(String, String)>,
}

/// Why there is no request.
pub(crate) enum Unreadable {
    Status(u16, &'static str),
    Io(std::io::Error),
}

impl From<std::io::Error> for Unreadable {
    fn from(error: std::io::Error) -> Unreadable {
        Unreadable::Io(error)
    }
}

impl Request {
    pub(crate) fn read(stream: &mut TcpStream, deadline: Instant) -> Result<Request, Unreadable> {
        let (head, mut body) = read_head(stream, deadline)?;
        let (mut request, length) = parse(&head)?;
        if length > MOST_BODY_BYTES {
            return Err(Unreadable::Status(413, "the form is too large\n"));
        }
        let mut chunk = [0; 4_096];
        while body.len() < length {
            stream.set_read_timeout(Some(left(deadline)?))?;
            match stream.read(&mut chunk)? {
                0 => return Err(Unreadable::Status(400, "the form ended early\n")),
                read => body.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            }
        }
        request.form = pairs(&String::from_utf8_lossy(body.get(..length).unwrap_or_default()));
        Ok(request)
    }

    /// A parameter of the query; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.replace([',', ' ', '\u{a0}'], "").parse().ok()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The segments of the path, decoded each.
    pub(crate) fn segments(&self) -> Vec<String> {
        self.path.split('/').skip(1).map(decode).collect()
    }
}

fn read_head(stream: &mut TcpStream, deadline: Instant) -> Result<(Vec<u8>, Vec<u8>), Unreadable> {
    let mut head = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(Unreadable::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        // The end may lie across two reads.
        let looked_at = head.len().saturating_sub(3);
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let found = head.get(looked_at..).unwrap_or_default().windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = found {
            let body = head.split_off(looked_at + end + 4);
            return Ok((head, body));
        }
        if head.len() > MOST_HEAD_BYTES {
            return Err(Unreadable::Status(431, "the request is too large\n"));
        }
    }
}

/// The request without its body, and the body's length.
fn parse(head: &[u8]) -> Result<(Request, usize), Unreadable> {
    let bad = || Unreadable::Status(400, "this is not an HTTP/1.1 request\n");
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    if !parsed.parse(head).map_err(|_| bad())?.is_complete() {
        return Err(bad());
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else { return Err(bad()) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !path.starts_with('/') {
        return Err(bad());
    }
    let mut request = Request { method: method.to_owned(), path: path.to_owned(), query: pairs(query), ..Request::default() };
    let mut length = None;
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| bad())?.trim();
        let once = |field: &mut Option<String>| match field.replace(value.to_owned()) {
            Some(_) => Err(bad()),
            None => Ok(()),
        };
        match header.name.to_ascii_lowercase().as_str() {
            "host" => once(&mut request.host)?,
            "origin" => once(&mut request.origin)?,
            "content-length" => once(&mut length)?,
            // A body whose length is not said beforehand is not read.
            "transfer-encoding" => return Err(Unreadable::Status(411, "say the length of the body\n")),
            "cookie" => {
                request.cookies.push_str(value);
                request.cookies.push(';');
            }
            _ => {}
        }
    }
    let length = length.map_or(Ok(0), |length| length.parse::<usize>()).map_err(|_| bad())?;
    Ok((request, length))
}

/// The pairs of a query or of a form.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// Decodes percent signs. What is not UTF-8 then becomes a question mark in a box, which no name of the store is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digits = (ahead.next().and_then(hex), ahead.next().and_then(hex));
        match (byte, digits) {
            (b'%', (Some(high), Some(low))) => {
                bytes.push(high << 4 | low);
                rest = ahead;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Encodes everything but letters, digits and `-_~`.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            // Dots too: a browser would resolve a segment that is only dots.
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_url() {
        for text in ["", "a/b", "100 %", "ü€\u{202e}", "a+b c", "%zz", "..", "\"<script>'&"] {
            assert_eq!(decode(&encode(text)), text);
            assert_eq!(pairs(&format!("k={}", encode(text))), [("k".to_owned(), text.to_owned())]);
        }
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(pairs("a=1+2&&b"), [("a".to_owned(), "1 2".to_owned()), ("b".to_owned(), String::new())]);
        assert!(!encode("..").contains('.'), "dots are not written as they are: a browser would resolve them");
    }
}
