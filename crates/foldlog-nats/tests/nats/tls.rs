//! NATS over TLS, against a real server whose authority nobody else knows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::Store;
use foldlog_nats::Nats;
use foldlog_nats::async_nats::ConnectOptions;

use crate::certificates::{Authority, Issued};
use crate::orders::{place_order, store};
use crate::server::{Server, free_port};

/// A server with TLS, and the files that its clients need.
pub struct Secured {
    pub server: Server,
    pub authority: PathBuf,
    client: (PathBuf, PathBuf),
}

impl Secured {
    /// With a stream. `asks`: whether it wants to see its clients' certificates, too. `name`: whom its own is for.
    fn start(directory: &Path, name: &'static str, asks: bool) -> Option<Secured> {
        let secured = Secured::start_with(directory, name, &["-js", if asks { "--tlsverify" } else { "--tls" }])?;
        secured.server.make_stream();
        Some(secured)
    }

    /// In a cluster with another member that has no TLS, and says that it is reached at this port. Without JetStream.
    pub fn start_in_cluster(directory: &Path, other: u16) -> Option<(Secured, Server)> {
        let routes = format!("nats://127.0.0.1:{}", free_port());
        let secured = ["--tls", "--cluster", &routes, "--cluster_name", "shop"];
        let secured = Secured::start_with(directory, "127.0.0.1", &secured)?;
        let advertised = format!("127.0.0.1:{other}");
        let member = ["--cluster", "nats://127.0.0.1:-1", "--cluster_name", "shop", "--routes", &routes];
        let member = [&member[..], &["--client_advertise", &advertised]].concat().into_iter().map(OsString::from).collect();
        let member = Server::start_with(&directory.join("member"), "127.0.0.1", member, Arc::new(ConnectOptions::new))?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !secured.server.knows(&advertised) {
            assert!(Instant::now() < deadline, "the members do not find each other");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some((secured, member))
    }

    fn start_with(directory: &Path, name: &'static str, arguments: &[&str]) -> Option<Secured> {
        let authority = Authority::new();
        let file = directory.join("authority.pem");
        std::fs::write(&file, authority.pem()).unwrap();
        let (certificate, key) = write(&authority.issue(name), directory, "server");
        let client = write(&authority.issue("client"), directory, "client");
        let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        for (flag, file) in [("--tlscert", &certificate), ("--tlskey", &key), ("--tlscacert", &file)] {
            arguments.extend([OsString::from(flag), file.into()]);
        }
        let (trusted, (certificate, key)) = (file.clone(), client.clone());
        let own = move || trusting(&trusted).add_client_certificate(certificate.clone(), key.clone()).ignore_discovered_servers();
        let server = Server::start_with(&directory.join("nats"), name, arguments, Arc::new(own))?;
        Some(Secured { server, authority: file, client })
    }

    /// A publisher that demands TLS, connecting with these options.
    pub fn publisher(&self, options: impl Fn() -> ConnectOptions + Send + 'static) -> Nats {
        Nats::new(self.server.url.replace("nats://", "tls://"), "shop").connect_options(options)
    }
}

/// Writes it to files: the certificate's and the key's.
fn write(issued: &Issued, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    std::fs::write(&certificate, &issued.certificate).unwrap();
    std::fs::write(&key, &issued.key).unwrap();
    (certificate, key)
}

pub fn trusting(authority: &Path) -> ConnectOptions {
    ConnectOptions::new().add_root_certificates(authority.to_owned())
}

/// Publishes what is there, each event in one attempt; returns how many were delivered.
fn run(store: &Store, nats: Nats) -> u64 {
    let nats = nats.timeout(Duration::from_secs(5));
    store.outbox("bus").backoff(Duration::ZERO, Duration::ZERO).max_attempts(1).publisher(nats).run_to_end().unwrap()
}

/// The dead letter says that there was no connection, and why.
#[track_caller]
fn without_connection(store: &Store, words: &str) {
    let letters = store.outbox("bus").dead_letters().unwrap();
    let letter = letters.iter().next().unwrap().unwrap();
    assert!(letter.last_error.starts_with("no connection"), "{}", letter.last_error);
    assert!(letter.last_error.contains(words), "{}", letter.last_error);
    letters.retry_all().unwrap();
}

#[test]
fn events_arrive_where_the_authority_is_known() {
    let (directory, store) = store();
    let Some(secured) = Secured::start(directory.path(), "127.0.0.1", false) else { return };
    place_order(&store, "o-1");
    let authority = secured.authority.clone();
    assert_eq!(run(&store, secured.publisher(move || trusting(&authority))), 2);
    assert_eq!(secured.server.messages(), 2);
}

#[test]
fn a_server_of_an_unknown_authority_gets_nothing() {
    let (directory, store) = store();
    let Some(secured) = Secured::start(directory.path(), "127.0.0.1", false) else { return };
    place_order(&store, "o-1");
    let stranger = directory.path().join("stranger.pem");
    std::fs::write(&stranger, Authority::new().pem()).unwrap();
    assert_eq!(run(&store, secured.publisher(move || trusting(&stranger))), 0);
    without_connection(&store, "invalid peer certificate");
    assert_eq!(secured.server.messages(), 0);
}

#[test]
fn a_server_with_the_certificate_of_another_gets_nothing() {
    let (directory, store) = store();
    let Some(secured) = Secured::start(directory.path(), "localhost", false) else { return };
    place_order(&store, "o-1");
    let authority = secured.authority.clone();
    let url = secured.server.url.replace("nats://localhost", "tls://127.0.0.1");
    assert_eq!(run(&store, Nats::new(url, "shop").connect_options(move || trusting(&authority))), 0);
    without_connection(&store, "not valid for name");
    assert_eq!(secured.server.messages(), 0);
}

#[test]
fn a_server_that_asks_sees_the_clients_certificate() {
    let (directory, store) = store();
    let Some(secured) = Secured::start(directory.path(), "127.0.0.1", true) else { return };
    place_order(&store, "o-1");
    let authority = secured.authority.clone();
    assert_eq!(run(&store, secured.publisher(move || trusting(&authority))), 0);
    store.outbox("bus").dead_letters().unwrap().retry_all().unwrap();
    let (authority, (certificate, key)) = (secured.authority.clone(), secured.client.clone());
    let options = move || trusting(&authority).add_client_certificate(certificate.clone(), key.clone());
    assert_eq!(run(&store, secured.publisher(options)), 2);
    assert_eq!(secured.server.messages(), 2);
}

#[test]
fn who_demands_tls_sends_nothing_without() {
    let (directory, store) = store();
    let Some(server) = Server::start(&directory.path().join("nats")) else { return };
    server.make_stream();
    place_order(&store, "o-1");
    let url = server.url.replace("nats://", "tls://");
    assert_eq!(run(&store, Nats::new(url, "shop")), 0);
    without_connection(&store, "");
    assert_eq!(server.messages(), 0);
}
