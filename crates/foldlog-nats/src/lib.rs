#![doc = include_str!("../README.md")]

use std::fmt;
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use async_nats::jetstream::context::{PublishError as NatsError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context};
use tokio::runtime::{Builder, Runtime};

use foldlog::{CloudEvents, Message, PublishError, Publisher, RecordedEvent};

/// The NATS client that [`Nats::connect_options`] uses: its version is part of this crate's public API.
pub use async_nats;

/// The server pings its clients after two minutes without traffic. Between two events nothing here answers the ping, so
/// an older connection is not used again.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// Publishes each event as a CloudEvent 1.0 (structured mode, JSON) to NATS JetStream, and waits for the stream's
/// acknowledgement.
///
/// `Nats-Msg-Id` is the event's id, so the server drops a message that was published twice within the stream's
/// duplicate window (two minutes by default). Keep the outbox's lease below that window, and make consumers idempotent
/// all the same.
///
/// The subject is `<prefix>.<aggregate type>.<event type>` unless [`subject`](Nats::subject) sets another. A stream
/// that takes this subject must exist. The connection is opened for the first event, and again after a failure.
///
/// The publisher waits on a small runtime of its own, so call [`Outbox::run_to_end`](foldlog::Outbox::run_to_end)
/// outside of async code. [`Outbox::follow`](foldlog::Outbox::follow) runs on its own thread anyway.
///
/// ```no_run
/// use foldlog::Store;
/// use foldlog_nats::Nats;
///
/// let store = Store::open("shop.db")?;
/// let follower = store.outbox("bus").publisher(Nats::new("nats://localhost:4222", "shop")).follow()?;
/// # drop(follower);
/// # Ok::<(), foldlog::Error>(())
/// ```
pub struct Nats {
    url: String,
    subject: Box<dyn Fn(&RecordedEvent) -> String + Send>,
    options: Box<dyn Fn() -> ConnectOptions + Send>,
    timeout: Duration,
    cloud_events: CloudEvents,
    session: Option<Session>,
}

/// A connection and the runtime that drives it.
struct Session {
    // Declared before the runtime, because fields drop in order and the client may still use the runtime when it drops.
    context: Context,
    runtime: Runtime,
    used: Instant,
}

impl Nats {
    /// Publishes to this server under subjects that begin with the prefix. Each event may take 10 seconds.
    pub fn new(url: impl Into<String>, prefix: &str) -> Nats {
        let prefix = prefix.to_owned();
        let subject =
            move |event: &RecordedEvent| format!("{prefix}.{}.{}", token(&event.aggregate_type), token(&event.event_type));
        Nats {
            url: url.into(),
            subject: Box::new(subject),
            options: Box::new(ConnectOptions::new),
            timeout: Duration::from_secs(10),
            cloud_events: CloudEvents::new(),
            session: None,
        }
    }

    /// Sets how an event's subject is made.
    pub fn subject(mut self, subject: impl Fn(&RecordedEvent) -> String + Send + 'static) -> Nats {
        self.subject = Box::new(subject);
        self
    }

    /// Sets the connection options: user and password, name, your own certificate authority (`add_root_certificates`;
    /// the machine's are then ignored), a client certificate. The closure is called for each connection. With a
    /// `tls://` address every member of the cluster must use TLS; with `nats://` the server decides, unless
    /// `require_tls` is set here. For credential files and keys, switch on the feature `nkeys` of [`async_nats`], in
    /// the version that this crate re-exports.
    pub fn connect_options(mut self, options: impl Fn() -> ConnectOptions + Send + 'static) -> Nats {
        self.options = Box::new(options);
        self
    }

    /// Sets how long one event may take, connecting included; one that takes longer is tried again. Default: 10 seconds.
    pub fn timeout(mut self, overall: Duration) -> Nats {
        self.timeout = overall;
        self
    }

    /// Sets how events are written: their `source` and the prefix of their `type`.
    pub fn cloud_events(mut self, cloud_events: CloudEvents) -> Nats {
        self.cloud_events = cloud_events;
        self
    }

    fn connect(&self) -> Result<Session, PublishError> {
        let failed = |error: &dyn fmt::Display| PublishError::Retry(format!("no connection: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
        let mut options = (self.options)().connection_timeout(self.timeout);
        if demands_tls(&self.url) {
            // Without this the client requires TLS for the given address only, not for the cluster's other members.
            options = options.require_tls(true);
        }
        let connecting = async { options.connect(self.url.as_str()).await.map(jetstream::new) };
        let mut context = runtime.block_on(connecting).map_err(|error| failed(&error))?;
        context.set_timeout(self.timeout);
        Ok(Session { context, runtime, used: Instant::now() })
    }
}

impl Publisher for Nats {
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        let publish = PublishMessage::build()
            .payload(self.cloud_events.to_json(message)?.into())
            .message_id(message.id().to_string())
            .header("Content-Type", CloudEvents::CONTENT_TYPE);
        let subject = (self.subject)(message.event);
        // The session is put back only after a success. After a failure the next attempt opens a new connection.
        let idle = self.session.take().filter(|session| session.used.elapsed() < LONGEST_IDLE);
        let mut session = match idle {
            Some(session) => session,
            None => self.connect()?,
        };
        let Session { context, runtime, .. } = &session;
        let published = runtime.block_on(async {
            let sent = async { context.send_publish(subject, publish).await?.await };
            tokio::time::timeout(self.timeout, sent).await
        });
        match published {
            Ok(Ok(_)) => {
                session.used = Instant::now();
                self.session = Some(session);
                Ok(())
            }
            Ok(Err(error)) => Err(judge(&error)),
            Err(_) => Err(PublishError::Retry("the stream did not acknowledge the event in time".to_owned())),
        }
    }
}

/// Decides whether a failure is worth a retry.
fn judge(error: &NatsError) -> PublishError {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => PublishError::Reject(error.to_string()),
        _ => PublishError::Retry(error.to_string()),
    }
}

/// Whether the address demands TLS.
fn demands_tls(url: &str) -> bool {
    url.trim_start().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tls://"))
}

/// A name as one token of a subject.
fn token(name: &str) -> String {
    name.chars().map(|c| if c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>') { '_' } else { c }).collect()
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address is left out: it may hold a password.
        f.debug_struct("Nats").field("connected", &self.session.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_take_ten_seconds_or_what_is_set() {
        let nats = Nats::new("nats://localhost:4222", "shop");
        assert_eq!(nats.timeout, Duration::from_secs(10));
        assert_eq!(nats.timeout(Duration::from_secs(3)).timeout, Duration::from_secs(3));
    }

    #[test]
    fn a_name_is_one_token_of_a_subject() {
        assert_eq!(token("order"), "order");
        assert_eq!(token("a.b*c>d e\tf\u{7}g"), "a_b_c_d_e_f_g");
        assert_eq!(token("é-_1"), "é-_1");
    }

    #[test]
    fn only_a_tls_address_demands_tls() {
        for url in ["tls://localhost", "TLS://localhost", " tls://localhost:1"] {
            assert!(demands_tls(url), "{url}");
        }
        for url in ["nats://localhost", "tls", "", "localhost", "wtls://x"] {
            assert!(!demands_tls(url), "{url}");
        }
    }
}
