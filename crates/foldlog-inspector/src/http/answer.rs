//! An answer, with the headers that every page carries.

use std::fmt::Write as _;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What follows the headers.
pub(crate) enum Body {
    None,
    Bytes(Vec<u8>),
    /// News for as long as the client listens; each call waits for the next.
    Live(Box<dyn FnMut() -> String + Send>),
}

/// An answer to a request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
    is_constant: bool,
    length: Option<usize>,
    pub(crate) body: Body,
}

impl Answer {
    fn new(status: u16, kind: &'static str, body: Vec<u8>) -> Answer {
        Answer { status, kind, headers: Vec::new(), is_constant: false, length: Some(body.len()), body: Body::Bytes(body) }
    }

    pub(crate) fn html(status: u16, page: String) -> Answer {
        Answer::new(status, "text/html; charset=utf-8", page.into_bytes())
    }

    pub(crate) fn text(status: u16, text: &str) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
    }

    pub(crate) fn json(status: u16, text: String) -> Answer {
        Answer::new(status, "application/json", text.into_bytes())
    }

    /// A file of the inspector itself, whose address changes with its content.
    pub(crate) fn asset(kind: &'static str, text: &'static str) -> Answer {
        Answer { is_constant: true, ..Answer::new(200, kind, text.as_bytes().to_vec()) }
    }

    pub(crate) fn redirect(to: &str) -> Answer {
        Answer::new(303, "text/plain; charset=utf-8", Vec::new()).header("Location", to)
    }

    pub(crate) fn live(news: impl FnMut() -> String + Send + 'static) -> Answer {
        Answer { length: None, body: Body::Live(Box::new(news)), ..Answer::new(200, "text/event-stream", Vec::new()) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Answer {
        // Nothing from outside may begin a header of its own.
        self.headers.push((name, value.chars().filter(|c| !c.is_control()).collect()));
        self
    }

    /// The same answer for HEAD.
    pub(crate) fn without_body(mut self) -> Answer {
        self.body = Body::None;
        self
    }

    pub(crate) fn head(&self) -> String {
        let Answer { status, kind, .. } = self;
        let caching = if self.is_constant { "private, max-age=31536000, immutable" } else { "no-store" };
        let mut head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Security-Policy: {POLICY}\r\n\
             X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: same-origin\r\nCache-Control: {caching}\r\n\
             Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n",
            reason(*status)
        );
        if let Some(length) = self.length {
            // Writing to a `String` cannot fail.
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}
