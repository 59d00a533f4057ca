//! A cluster names its members in the clear, before TLS begins: what a publisher that demands TLS says to a member that
//! has none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::runtime::Builder;

use crate::orders::{place_order, store};
use crate::tls::{Secured, trusting};

/// Speaks as a server without TLS does, and passes on what each client says to it first.
fn impostor() -> (u16, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, heard) = channel();
    // Ends with the test's process.
    std::thread::spawn(move || {
        let greet = |mut stream: TcpStream| {
            let greeting =
                r#"{"server_id":"I","server_name":"I","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}"#;
            write!(stream, "INFO {greeting}\r\n")?;
            let mut first = vec![0; 16];
            let length = stream.read(&mut first)?;
            first.truncate(length);
            std::io::Result::Ok(first)
        };
        for stream in listener.incoming().flatten() {
            if let Ok(first) = greet(stream) {
                let _ = said.send(first);
            }
        }
    });
    (port, heard)
}

/// Acknowledges whatever is published, from now on.
fn answer_as_a_stream(secured: &Secured) {
    let connection = secured.server.connection();
    let (ready, is_ready) = channel();
    // Ends with the test's process.
    std::thread::spawn(move || {
        let work = async {
            let client = connection.await.unwrap();
            let mut published = client.subscribe("shop.>").await.unwrap();
            client.flush().await.unwrap();
            ready.send(()).unwrap();
            while let Some(message) = published.next().await {
                if let Some(reply) = message.reply {
                    client.publish(reply, r#"{"stream":"SHOP","seq":1}"#.into()).await.unwrap();
                }
            }
        };
        Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    });
    is_ready.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_member_of_the_cluster_without_tls_hears_nothing_in_the_clear() {
    let (directory, store) = store();
    let (port, heard) = impostor();
    let Some((secured, _member)) = Secured::start_in_cluster(directory.path(), port) else { return };
    let authority = secured.authority.clone();
    let pause = Duration::from_millis(50);
    let nats = secured.publisher(move || trusting(&authority)).timeout(Duration::from_secs(2));
    let follower = store.outbox("bus").backoff(pause, pause).max_attempts(1_000).publisher(nats).follow().unwrap();
    answer_as_a_stream(&secured);
    place_order(&store, "o-1");
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.outbox("bus").status().map_or(true, |status| status.lag > 0 || status.to_retry + status.waiting > 0) {
        assert!(Instant::now() < deadline, "{:?}", store.outbox("bus").status());
        std::thread::sleep(Duration::from_millis(10));
    }
    // The connection breaks, and the client, which knows of another member, goes there.
    drop(secured.server);
    place_order(&store, "o-2");
    let first = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(first.first(), Some(&0x16), "not the beginning of TLS: {:?}", String::from_utf8_lossy(&first));
    follower.stop();
}
