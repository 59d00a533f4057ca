//! The webhook over TLS, against a real TLS server whose authority nobody else knows.

use std::time::Duration;

use foldlog::Store;
use foldlog_webhook::Webhook;

use crate::certificates::Authority;
use crate::http_server::Server;
use crate::orders::{place_order, store};

const HOST: &str = "127.0.0.1";

/// Publishes what is there, each event in two attempts at the most; returns how many were delivered.
fn run(store: &Store, webhook: Webhook) -> u64 {
    store.outbox("hook").backoff(Duration::ZERO, Duration::ZERO).max_attempts(2).publisher(webhook).run_to_end().unwrap()
}

/// Nothing arrives, and the dead letter says why in these words.
#[track_caller]
fn refused(server: &Server, webhook: Webhook, words: &str) {
    let (_directory, store) = store();
    place_order(&store, "o-1");
    assert_eq!(run(&store, webhook), 0);
    let letter = store.outbox("hook").dead_letters().unwrap().iter().next().unwrap().unwrap();
    assert_eq!(letter.attempts, 2, "tried again: certificates are mended, too");
    assert!(letter.last_error.contains(words), "{}", letter.last_error);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn events_arrive_where_the_authority_is_known() {
    let (_directory, store) = store();
    let authority = Authority::new();
    let server = Server::start_tls(&authority.issue(HOST));
    let ids = place_order(&store, "o-1");
    let webhook = Webhook::new(&server.url).unwrap().ca_certificates(authority.pem().as_bytes()).unwrap();
    let webhook = webhook.timeouts(Duration::from_secs(4), Duration::from_secs(10)); // keeps the authority
    assert_eq!(run(&store, webhook), 2);
    let requests = server.requests();
    let sent: Vec<_> = requests.iter().map(|request| request.headers["webhook-id"].clone()).collect();
    assert_eq!(sent, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(requests[1].json()["data"]["parcel"], "é\u{1F4E6}");
    assert_eq!((requests[0].connection, requests[1].connection), (0, 0), "one handshake for both");
}

#[test]
fn one_of_several_authorities_is_enough() {
    let (_directory, store) = store();
    let (old, new) = (Authority::new(), Authority::new());
    let server = Server::start_tls(&new.issue(HOST));
    place_order(&store, "o-1");
    let both = format!("The old one:\n{}\nThe new one:\n{}", old.pem(), new.pem());
    assert_eq!(run(&store, Webhook::new(&server.url).unwrap().ca_certificates(both.as_bytes()).unwrap()), 2);
}

#[test]
fn a_server_that_cannot_show_who_it_is_gets_nothing() {
    let authority = Authority::new();
    let pem = authority.pem();
    let trusting = |server: &Server| Webhook::new(&server.url).unwrap().ca_certificates(pem.as_bytes()).unwrap();

    let server = Server::start_tls(&authority.issue(HOST));
    refused(&server, Webhook::new(&server.url).unwrap(), "UnknownIssuer");
    // Of the same name as ours.
    let stranger = Server::start_tls(&Authority::new().issue(HOST));
    refused(&stranger, trusting(&stranger), "BadSignature");
    let elsewhere = Server::start_tls(&authority.issue("elsewhere.example"));
    refused(&elsewhere, trusting(&elsewhere), "not valid for name");
    let expired = authority.issue_with(HOST, |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2019, 1, 1), rcgen::date_time_ymd(2020, 1, 1));
    });
    let expired = Server::start_tls(&expired);
    refused(&expired, trusting(&expired), "expired");
}

#[test]
fn a_server_without_tls_gets_nothing() {
    let server = Server::start([]);
    let url = server.url.replace("http://", "https://");
    refused(&server, Webhook::new(&url).unwrap().ca_certificates(Authority::new().pem().as_bytes()).unwrap(), "");
}

#[test]
fn what_is_no_authority_is_refused() {
    let issued = Authority::new().issue(HOST);
    let cut = &issued.certificate[..issued.certificate.len() / 2];
    let half = format!("{}{cut}", issued.certificate);
    let odd = "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
    for pem in ["", "no PEM at all", &issued.key, cut, &half, odd] {
        let error = Webhook::new("https://localhost/").unwrap().ca_certificates(pem.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("certificate"), "{pem}: {error}");
    }
}
