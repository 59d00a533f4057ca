use std::net::TcpListener;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use foldlog::{CloudEvents, Message, PublishError, Store};
use foldlog_webhook::Webhook;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::http_server::{Answer, Request, Server};
use crate::orders::{place_order, store};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn webhook_to(server: &Server) -> Webhook {
    Webhook::new(&server.url).unwrap().secret(SECRET).unwrap()
}

/// RFC 2104, from the hash alone: not the code that signed.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

/// What a receiver does before it believes a request.
fn verify(request: &Request) {
    let header = |name: &str| request.headers[name].as_str();
    let mut signed = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
    signed.extend(&request.body);
    let key = BASE64.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    assert_eq!(header("webhook-signature"), format!("v1,{}", BASE64.encode(hmac(&key, &signed))));
    let age = chrono::Utc::now().timestamp() - header("webhook-timestamp").parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{age} s old");
}

fn run(store: &Store, webhook: Webhook) -> u64 {
    store.outbox("hook").backoff(Duration::ZERO, Duration::ZERO).max_attempts(9).publisher(webhook).run_to_end().unwrap()
}

#[test]
fn events_arrive_as_signed_cloud_events() {
    let (_directory, store) = store();
    let server = Server::start([]);
    let ids = place_order(&store, "o-1");
    let cloud_events = CloudEvents::new().source("/shop").type_prefix("com.example.");
    let webhook = webhook_to(&server).cloud_events(cloud_events).header("authorization", "Bearer x").unwrap();
    assert_eq!(run(&store, webhook), 2);
    let requests = server.requests();
    requests.iter().for_each(verify);
    assert_eq!(requests[0].headers["content-type"], "application/cloudevents+json");
    assert_eq!(requests[0].headers["authorization"], "Bearer x");
    assert_eq!(requests[0].headers["webhook-id"], ids[0].to_string());
    assert_eq!((requests[0].connection, requests[1].connection), (0, 0), "one connection for both");

    let events: Vec<_> = store.read(foldlog::Query::new()).map(Result::unwrap).collect();
    let time = |n: usize| events[n].created_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let first = json!({
        "specversion": "1.0", "id": ids[0].to_string(), "source": "/shop", "type": "com.example.Placed", "subject": "o-1",
        "time": time(0), "datacontenttype": "application/json", "tenant": "default", "aggregatetype": "order",
        "aggregateversion": "1", "position": "1", "schemaversion": "1", "correlationid": "request-1",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "data": {"total": "9.50"}
    });
    let second = json!({
        "specversion": "1.0", "id": ids[1].to_string(), "source": "/shop", "type": "com.example.Shipped", "subject": "o-1",
        "time": time(1), "datacontenttype": "application/json", "tenant": "default", "aggregatetype": "order",
        "aggregateversion": "2", "position": "2", "schemaversion": "2", "data": {"parcel": "é\u{1F4E6}"}
    });
    assert_eq!([requests[0].json(), requests[1].json()], [first, second]);
}

#[test]
fn while_a_secret_is_exchanged_each_request_is_signed_with_both() {
    const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let (_directory, store) = store();
    let server = Server::start([]);
    place_order(&store, "o-1");
    assert_eq!(run(&store, webhook_to(&server).previous_secret(OLD).unwrap()), 2);
    for request in server.requests() {
        let (id, timestamp) = (&request.headers["webhook-id"], &request.headers["webhook-timestamp"]);
        let signed = [format!("{id}.{timestamp}.").as_bytes(), &request.body].concat();
        let by = |secret: &str| {
            let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
            format!("v1,{}", BASE64.encode(hmac(&key, &signed)))
        };
        assert_eq!(request.headers["webhook-signature"], format!("{} {}", by(SECRET), by(OLD)));
    }
    // The exchange ends with the new secret alone; a receiver with either has missed nothing.
    place_order(&store, "o-2");
    assert_eq!(run(&store, webhook_to(&server).previous_secret(OLD).unwrap().secret(SECRET).unwrap()), 2);
    server.requests()[2..].iter().for_each(verify);
    let alone = Webhook::new(&server.url).unwrap().previous_secret(OLD).unwrap_err();
    assert!(alone.to_string().contains("secret first"), "{alone}");
    assert!(webhook_to(&server).previous_secret("whsec_AAAA").is_err());
}

#[test]
fn the_default_source_is_the_replica_and_without_a_secret_nothing_is_signed() {
    let (_directory, store) = store();
    let server = Server::start([]);
    place_order(&store, "o-1");
    assert_eq!(run(&store, Webhook::new(&server.url).unwrap()), 2);
    let request = &server.requests()[0];
    let origin = store.read(foldlog::Query::new()).next().unwrap().unwrap().origin;
    assert_eq!(request.json()["source"], format!("urn:uuid:{origin}"));
    assert!(!request.headers.contains_key("webhook-signature"));
}

#[test]
fn whatever_fails_is_sent_again_under_the_same_id_until_it_is_taken() {
    let (_directory, store) = store();
    let failures = [
        Answer::Status(500),
        Answer::Hangup,
        Answer::Silence(Duration::from_secs(6)),
        Answer::Status(302),
        Answer::Status(408),
        Answer::Status(429),
    ];
    let server = Server::start(failures);
    let ids = place_order(&store, "o-1");
    let webhook = webhook_to(&server).timeouts(Duration::from_secs(1), Duration::from_millis(1_500));
    assert_eq!(run(&store, webhook), 2);
    let requests = server.requests();
    requests.iter().for_each(verify);
    let sent: Vec<_> = requests.iter().map(|request| request.headers["webhook-id"].clone()).collect();
    let mut expected = vec![ids[0].to_string(); failures.len() + 1];
    expected.push(ids[1].to_string());
    assert_eq!(sent, expected, "in order, the second only after the first");
    let waited = requests[3].at - requests[2].at;
    assert!(waited < Duration::from_secs(5), "the silence was not waited for: {waited:?}");
}

#[test]
fn a_redirect_is_not_followed() {
    let (_directory, store) = store();
    let elsewhere = Server::start([]);
    let port = elsewhere.url.rsplit(':').next().unwrap().strip_suffix("/events").unwrap().parse().unwrap();
    let server = Server::start([301, 302, 303, 307, 308].map(|status| Answer::Elsewhere(status, port)));
    place_order(&store, "o-1");
    assert_eq!(run(&store, webhook_to(&server)), 2);
    assert_eq!((server.requests().len(), elsewhere.requests().len()), (7, 0), "tried again at the address that was set");
}

#[test]
fn the_receiver_can_ask_for_a_pause() {
    let (_directory, store) = store();
    let server = Server::start([Answer::Later(503, 1)]);
    place_order(&store, "o-1");
    let follower = store.outbox("hook").backoff(Duration::ZERO, Duration::ZERO).publisher(webhook_to(&server)).follow().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.requests.lock().unwrap().len() < 3 {
        assert!(Instant::now() < deadline, "it never came again");
        std::thread::sleep(Duration::from_millis(5));
    }
    follower.stop();
    let requests = server.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(990));
}

#[test]
fn a_refusal_is_a_dead_letter_at_once_which_can_be_retried() {
    let (_directory, store) = store();
    let server = Server::start([Answer::Status(410), Answer::Status(400)]);
    place_order(&store, "o-1");
    place_order(&store, "o-2");
    assert_eq!(run(&store, webhook_to(&server)), 0);
    assert_eq!(server.requests().len(), 2, "the second event of each order waits");
    let letters = store.outbox("hook").dead_letters().unwrap();
    let errors: Vec<_> = letters.iter().map(|letter| letter.unwrap().last_error).collect();
    assert_eq!(errors, ["the receiver answered 410", "the receiver answered 400"]);
    assert_eq!(letters.retry_all().unwrap(), 2);
    assert_eq!(run(&store, webhook_to(&server)), 4);
    assert_eq!(letters.count().unwrap(), 0);
}

#[test]
fn nobody_listens() {
    let (_directory, store) = store();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    place_order(&store, "o-1");
    let mut webhook = Webhook::new(&format!("http://127.0.0.1:{port}/")).unwrap();
    let mut error = None;
    store
        .outbox("hook")
        .max_attempts(1)
        .publisher(|message: &Message<'_>| {
            let published = foldlog::Publisher::publish(&mut webhook, message);
            error = published.clone().err();
            published
        })
        .run_to_end()
        .unwrap();
    assert!(matches!(error, Some(PublishError::Retry(_))), "{error:?}");
}

/// Times at the ends of their type: an attempt ends, and none panics.
#[test]
fn times_at_the_ends_of_their_type() {
    let (_directory, store) = store();
    place_order(&store, "o-1");
    let ends = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::from(u32::MAX)), Duration::MAX];
    for (connect, overall) in ends.iter().flat_map(|one| ends.iter().map(move |other| (*one, *other))) {
        for name in ["hook", "nobody"] {
            let _ = store.outbox(name).remove();
        }
        let server = Server::start([]);
        let began = Instant::now();
        let long = Duration::from_secs(1);
        let published = run(&store, webhook_to(&server).timeouts(connect, overall));
        assert!(published == 2 || connect < long || overall < long, "{connect:?}, {overall:?}: {published}");
        // Nobody listens at a port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let nobody = Webhook::new(&format!("http://127.0.0.1:{port}/")).unwrap().timeouts(connect, overall);
        assert_eq!(store.outbox("nobody").max_attempts(1).publisher(nobody).run_to_end().unwrap(), 0);
        assert!(began.elapsed() < Duration::from_secs(20), "{connect:?}, {overall:?}: {:?}", began.elapsed());
    }
    // However long a pause the receiver asks for.
    for asked in [0, 1, u64::MAX - 1, u64::MAX] {
        let server = Server::start([Answer::Later(503, asked)]);
        let _ = store.outbox("hook").remove();
        run(&store, webhook_to(&server));
        let status = store.outbox("hook").status().unwrap();
        assert!(asked < 2 || status.to_retry == 1, "{asked}: {status:?}");
    }
}
