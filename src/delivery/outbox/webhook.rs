//! A publisher that posts events to an HTTP address.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::DateTime;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use ureq::Agent;
use ureq::http::uri::InvalidUri;
use ureq::http::{HeaderName, HeaderValue, Response, Uri};
#[cfg(feature = "webhook-tls")]
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::cloud_event::{CONTENT_TYPE, Envelope};
use super::publisher::{Message, PublishError, Publisher};
use crate::model::clock::Clock;
use crate::model::error::{Error, ErrorKind, Result};

/// So much of an answer is read, for the connection to be used again; nothing of it is kept.
const ANSWER_BYTES: u64 = 64 << 10;

/// Posts each event as a CloudEvent 1.0 (structured mode, `application/cloudevents+json`) to an HTTP address. Feature
/// `webhook`; for `https` also `webhook-tls`.
///
/// Beside the attributes that CloudEvents asks for there are, as strings: `tenant`, `aggregatetype`, `aggregateversion`,
/// `position`, `schemaversion`; and from the metadata, if there, `correlationid`, `causationid`, `traceparent` and
/// `tracestate`. `subject` is the aggregate id.
///
/// With a [`secret`](Webhook::secret) the request is signed as Standard Webhooks says: `webhook-id` (the event's id, the same
/// for each attempt), `webhook-timestamp` (of the attempt, in seconds) and `webhook-signature`, `v1,` with the HMAC-SHA256
/// over id, timestamp and body. The receiver compares it, refuses an old timestamp, and leaves out an id that it knows.
///
/// Any status 2xx means that the receiver has the event. 4xx, save 408, 425 and 429, is a refusal: a dead letter at once.
/// Everything else is tried again, not before the time in `Retry-After`. Redirects are not followed. A proxy is taken from
/// the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`).
///
/// ```no_run
/// use foldlog::{Store, Webhook};
///
/// let store = Store::open("shop.db")?;
/// let hook = Webhook::new("http://localhost:8080/events")?.secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?;
/// let follower = store.outbox("billing").publisher(hook).follow()?;
/// # drop(follower);
/// # Ok::<(), foldlog::Error>(())
/// ```
pub struct Webhook {
    agent: Agent,
    connecting: Connecting,
    url: Uri,
    key: Option<Vec<u8>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    envelope: Envelope,
}

/// How connections are made.
struct Connecting {
    connect: Duration,
    overall: Duration,
    #[cfg(feature = "webhook-tls")]
    trusted: RootCerts,
}

impl Webhook {
    /// Posts to this address, with 5 seconds to connect and 15 seconds in all.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what is not an `http` or `https` address, and for `https` without `webhook-tls`.
    pub fn new(url: &str) -> Result<Webhook> {
        let refused = |why: &str| Error::new(ErrorKind::InvalidInput, format!("the webhook's address {why}")).during("webhook");
        let url: Uri = url.parse().map_err(|error: InvalidUri| refused("is none").caused_by(error))?;
        match url.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "webhook-tls") => {}
            Some("https") => return Err(refused("needs the feature webhook-tls")),
            _ => return Err(refused("must begin with http:// or https://")),
        }
        let connecting = Connecting {
            connect: Duration::from_secs(5),
            overall: Duration::from_secs(15),
            #[cfg(feature = "webhook-tls")]
            trusted: RootCerts::WebPki,
        };
        Ok(Webhook { agent: connecting.agent(), connecting, url, key: None, headers: Vec::new(), envelope: Envelope::default() })
    }

    /// Signs each request with this secret, as Standard Webhooks writes it: base64, with or without `whsec_` before it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not base64 or has less than 24 bytes.
    pub fn secret(mut self, secret: &str) -> Result<Webhook> {
        let refused = |why| Error::new(ErrorKind::InvalidInput, why).during("webhook");
        let key = BASE64
            .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
            .map_err(|_| refused("the webhook's secret is not base64"))?;
        if key.len() < 24 {
            return Err(refused("the webhook's secret is shorter than 24 bytes"));
        }
        self.key = Some(key);
        Ok(self)
    }

    /// Sends a further header with each request, for authorisation for instance.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the name or the value cannot be sent.
    pub fn header(mut self, name: &str, value: &str) -> Result<Webhook> {
        let refused = || Error::new(ErrorKind::InvalidInput, "a header that cannot be sent").during("webhook");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
        value.set_sensitive(true);
        self.headers.push((name, value));
        Ok(self)
    }

    /// How long connecting may take, and the whole of one request. Keep the outbox's lease above it.
    pub fn timeouts(mut self, connect: Duration, overall: Duration) -> Webhook {
        (self.connecting.connect, self.connecting.overall) = (connect, overall);
        self.agent = self.connecting.agent();
        self
    }

    /// Trusts a server whose certificate one of these authorities has issued (certificates in PEM), and no other: for a
    /// receiver inside of an organisation. Default: the authorities that Mozilla trusts, compiled in; those of the machine
    /// are not looked at. Feature `webhook-tls`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no certificate in it, or something that is none.
    #[cfg(feature = "webhook-tls")]
    pub fn ca_certificates(mut self, pem: &[u8]) -> Result<Webhook> {
        let refused = |why| Error::new(ErrorKind::InvalidInput, why).during("webhook");
        let mut certificates = Vec::new();
        for item in parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                Ok(_) => {}
                Err(error) => return Err(refused("the authorities' certificates are not PEM").caused_by(error)),
            }
        }
        if certificates.is_empty() {
            return Err(refused("there is no certificate of an authority"));
        }
        self.connecting.trusted = certificates.into();
        self.agent = self.connecting.agent();
        Ok(self)
    }

    /// The `source` of the CloudEvents, a URI reference. Default: `urn:uuid:` and the id of the replica in which the event
    /// was appended.
    pub fn source(mut self, source: impl Into<String>) -> Webhook {
        self.envelope.source = Some(source.into());
        self
    }

    /// Goes before the event type in the CloudEvents' `type`: `com.example.`, for instance.
    pub fn type_prefix(mut self, prefix: impl Into<String>) -> Webhook {
        self.envelope.type_prefix = prefix.into();
        self
    }
}

impl Connecting {
    fn agent(&self) -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(self.connect))
            .timeout_global(Some(self.overall))
            .user_agent(concat!("foldlog/", env!("CARGO_PKG_VERSION")));
        #[cfg(feature = "webhook-tls")]
        let config = config.tls_config(TlsConfig::builder().root_certs(self.trusted.clone()).build());
        config.build().into()
    }
}

impl Publisher for Webhook {
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        let body = self.envelope.write(message)?;
        let id = message.id().to_string();
        let timestamp = Clock::system().now_micros() / 1_000_000;
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", CONTENT_TYPE)
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp.to_string());
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", signature(key, &id, timestamp, &body)?);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = request.send(&body).map_err(|error| PublishError::Retry(error.to_string()))?;
        let judged = judge(&response);
        // Read, so that the connection can be used again; the status has said it all.
        let _ = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        judged
    }
}

/// The signature of Standard Webhooks.
fn signature(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Result<String, PublishError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| PublishError::Reject(error.to_string()))?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}

/// What a status means.
fn judge<B>(response: &Response<B>) -> Result<(), PublishError> {
    let status = response.status().as_u16();
    let said = format!("the receiver answered {status}");
    match status {
        200..300 => Ok(()),
        400..500 if !matches!(status, 408 | 425 | 429) => Err(PublishError::Reject(said)),
        _ => Err(match retry_after(response) {
            Some(pause) => PublishError::RetryAfter(said, pause),
            None => PublishError::Retry(said),
        }),
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    let micros = date.timestamp_micros().saturating_sub(Clock::system().now_micros());
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the secret nor the path: many receivers are authorised by a path that nobody can guess.
        f.debug_struct("Webhook").field("host", &self.url.host()).field("signed", &self.key.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let webhook = Webhook::new("http://localhost/").unwrap().secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = signature(webhook.key.as_deref().unwrap(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_status_says_whether_to_try_again() {
        let judged = |status: u16, retry_after: Option<&str>| {
            let mut response = Response::builder().status(status);
            if let Some(value) = retry_after {
                response = response.header("Retry-After", value);
            }
            judge(&response.body(()).unwrap())
        };
        for status in [200, 201, 202, 204] {
            assert_eq!(judged(status, None), Ok(()));
        }
        for status in [400, 401, 404, 410, 413, 422] {
            assert!(matches!(judged(status, Some("5")), Err(PublishError::Reject(_))), "{status}");
        }
        for status in [302, 307, 408, 425, 429, 500, 502, 503] {
            assert!(matches!(judged(status, None), Err(PublishError::Retry(_))), "{status}");
            assert!(matches!(judged(status, Some("soon")), Err(PublishError::Retry(_))), "{status}");
            let Err(PublishError::RetryAfter(_, pause)) = judged(status, Some("7")) else { panic!("{status}") };
            assert_eq!(pause, Duration::from_secs(7));
        }
        let date = DateTime::from_timestamp_micros(Clock::system().now_micros() + 90_000_000)
            .unwrap()
            .format("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let Err(PublishError::RetryAfter(_, pause)) = judged(503, Some(&date)) else { panic!("{date}") };
        assert!((80..=90).contains(&pause.as_secs()), "{pause:?}");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_secrets_do_not_show() {
        for url in ["", "localhost", "ftp://localhost/", "http://", "http://a b/"] {
            assert_eq!(Webhook::new(url).unwrap_err().kind(), ErrorKind::InvalidInput, "{url}");
        }
        assert_eq!(Webhook::new("https://localhost/").is_ok(), cfg!(feature = "webhook-tls"));
        let webhook = || Webhook::new("http://localhost/canary").unwrap();
        for secret in ["whsec_?", "", "whsec_AAAA"] {
            assert_eq!(webhook().secret(secret).unwrap_err().kind(), ErrorKind::InvalidInput, "{secret}");
        }
        assert_eq!(webhook().header("a b", "c").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(webhook().header("a", "c\n").unwrap_err().kind(), ErrorKind::InvalidInput);
        let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let shown = format!("{:?}", webhook().secret(secret).unwrap().header("authorization", "canary").unwrap());
        assert!(!shown.contains("canary") && !shown.contains(&secret[..8]), "{shown}");
    }
}
