//! An HTTP server of the test's own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What the server does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Status(u16),
    /// A status with `Retry-After`, in seconds.
    Later(u16, u64),
    /// A status with a `Location` on this port.
    Elsewhere(u16, u16),
    /// Says nothing for so long.
    Silence(Duration),
    /// Closes the connection in place of an answer.
    Hangup,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    pub connection: usize,
    pub at: Instant,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An HTTP server that fails on purpose: answers in this order, and with 204 when they are used up.
pub struct Server {
    pub url: String,
    pub requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Server {
        Server::start_with(answers, "http", |stream| stream)
    }

    /// Over TLS, with this certificate.
    #[cfg(feature = "tls")]
    pub fn start_tls(certificate: &crate::certificates::Issued) -> Server {
        let config = Arc::new(server_config(certificate));
        Server::start_with([], "https", move |stream| {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            rustls::StreamOwned::new(connection, stream)
        })
    }

    fn start_with<S: Read + Write>(
        answers: impl IntoIterator<Item = Answer>,
        scheme: &str,
        wrap: impl Fn(TcpStream) -> S + Clone + Send + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}/events", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<Vec<_>>().into_iter()));
        let seen = requests.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (answers, seen, wrap) = (answers.clone(), seen.clone(), wrap.clone());
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(wrap(stream.unwrap()));
                    while let Some(request) = read_request(&mut stream, connection) {
                        seen.lock().unwrap().push(request);
                        let answer = answers.lock().unwrap().next().unwrap_or(Answer::Status(204));
                        if !respond(stream.get_mut(), answer) {
                            return;
                        }
                    }
                });
            }
        });
        Server { url, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

#[cfg(feature = "tls")]
fn server_config(issued: &crate::certificates::Issued) -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
}

fn read_request(stream: &mut BufReader<impl Read>, connection: usize) -> Option<Request> {
    let mut line = String::new();
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    assert_eq!(line, "POST /events HTTP/1.1\r\n");
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(Request { headers, body, connection, at: Instant::now() })
}

/// Whether the connection stays.
fn respond(stream: &mut impl Write, answer: Answer) -> bool {
    let (status, further) = match answer {
        Answer::Status(status) => (status, String::new()),
        Answer::Later(status, seconds) => (status, format!("Retry-After: {seconds}\r\n")),
        Answer::Elsewhere(status, port) => (status, format!("Location: http://127.0.0.1:{port}/events\r\n")),
        Answer::Silence(pause) => {
            std::thread::sleep(pause);
            return false;
        }
        Answer::Hangup => return false,
    };
    let body = if status == 204 { "" } else { "Content-Length: 6\r\n\r\nmumble" };
    let end = if status == 204 { "\r\n" } else { "" };
    stream.write_all(format!("HTTP/1.1 {status} Whatever\r\n{further}{body}{end}").as_bytes()).is_ok()
}
