#![doc = include_str!("../README.md")]

mod invalid;

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::DateTime;
use foldlog::{CloudEvents, Message, PublishError, Publisher};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use ureq::Agent;
use ureq::http::uri::InvalidUri;
use ureq::http::{HeaderName, HeaderValue, Response, Uri};
#[cfg(feature = "tls")]
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

pub use invalid::InvalidSetting;

/// The most bytes read of an answer. The body is read so that the connection can be reused, and then dropped.
const ANSWER_BYTES: u64 = 64 << 10;
/// The longest that a request may take. The client adds times to the clock, which has an end.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Posts each event as a CloudEvent 1.0 (structured mode, `application/cloudevents+json`) to an HTTP address, or to an
/// `https` address with the feature `tls`.
///
/// With a [`secret`](Webhook::secret) the request is signed as Standard Webhooks defines: `webhook-id` (the event's id,
/// the same for each attempt), `webhook-timestamp` (of the attempt, in seconds) and `webhook-signature`: `v1,` and the
/// HMAC-SHA256 over id, timestamp and body. The receiver checks the signature, refuses an old timestamp, and ignores an
/// id that it already has. While a secret is exchanged, [`previous_secret`](Webhook::previous_secret) adds a second
/// signature, so that the receiver can change over at any time.
///
/// Any status 2xx means that the receiver has the event. A 4xx other than 408, 425 and 429 is a refusal: the event
/// becomes a dead letter at once. Everything else is tried again, not before the time in `Retry-After`. Redirects are
/// not followed. A proxy is taken from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`).
///
/// ```no_run
/// use foldlog::Store;
/// use foldlog_webhook::Webhook;
///
/// let store = Store::open("shop.db")?;
/// let hook = Webhook::new("http://localhost:8080/events")?.secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?;
/// let follower = store.outbox("billing").publisher(hook).follow()?;
/// # drop(follower);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Webhook {
    agent: Agent,
    connecting: Connecting,
    url: Uri,
    /// The secrets: the current one, then previous ones.
    keys: Vec<Vec<u8>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cloud_events: CloudEvents,
}

/// What a connection needs to be opened.
struct Connecting {
    connect: Duration,
    overall: Duration,
    #[cfg(feature = "tls")]
    trusted: RootCerts,
}

impl Webhook {
    /// Posts to this address. Connecting may take 5 seconds, the whole request 15.
    ///
    /// # Errors
    /// If the address is not `http` or `https`, or if it is `https` and the feature `tls` is off.
    pub fn new(url: &str) -> Result<Webhook, InvalidSetting> {
        let invalid = InvalidSetting::new;
        let url: Uri = url.parse().map_err(|error: InvalidUri| invalid("the address is not a URL").caused_by(error))?;
        match url.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => return Err(invalid("an https address needs the feature tls of foldlog-webhook")),
            _ => return Err(invalid("the address must begin with http:// or https://")),
        }
        let connecting = Connecting {
            connect: Duration::from_secs(5),
            overall: Duration::from_secs(15),
            #[cfg(feature = "tls")]
            trusted: RootCerts::WebPki,
        };
        Ok(Webhook {
            agent: connecting.agent(),
            connecting,
            url,
            keys: Vec::new(),
            headers: Vec::new(),
            cloud_events: CloudEvents::new(),
        })
    }

    /// Signs each request with this secret, in the form of Standard Webhooks: base64, with or without the prefix
    /// `whsec_`. Replaces all secrets that were set before.
    ///
    /// # Errors
    /// If it is not base64 or has less than 24 bytes.
    pub fn secret(mut self, secret: &str) -> Result<Webhook, InvalidSetting> {
        self.keys = vec![Webhook::key(secret)?];
        Ok(self)
    }

    /// Signs each request with this secret too, the one that is being replaced: `webhook-signature` then holds both
    /// signatures, separated by a space, and a receiver accepts a request if one of them is right. To exchange a
    /// secret, set the new one as `secret` and the old one here, give the receiver the new one, then leave the old one
    /// out.
    ///
    /// ```
    /// use foldlog_webhook::Webhook;
    ///
    /// let hook = Webhook::new("http://localhost:8080/events")?
    ///     .secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?
    ///     .previous_secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?;
    /// # Ok::<(), foldlog_webhook::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    /// As [`Webhook::secret`]; also if no `secret` was set before.
    pub fn previous_secret(mut self, secret: &str) -> Result<Webhook, InvalidSetting> {
        let key = Webhook::key(secret)?;
        if self.keys.is_empty() {
            return Err(InvalidSetting::new("a previous secret needs a current one; call secret first"));
        }
        self.keys.push(key);
        Ok(self)
    }

    fn key(secret: &str) -> Result<Vec<u8>, InvalidSetting> {
        let key = BASE64
            .decode(secret.strip_prefix("whsec_").unwrap_or(secret))
            // The cause is left out: it quotes a character of the secret.
            .map_err(|_| InvalidSetting::new("the secret is not base64"))?;
        if key.len() < 24 {
            return Err(InvalidSetting::new("the secret is shorter than 24 bytes"));
        }
        Ok(key)
    }

    /// Sends another header with each request, such as `Authorization`.
    ///
    /// # Errors
    /// If the name or the value is not valid in a header.
    pub fn header(mut self, name: &str, value: &str) -> Result<Webhook, InvalidSetting> {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| InvalidSetting::new("the header's name cannot be sent").caused_by(error))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|error| InvalidSetting::new("the header's value cannot be sent").caused_by(error))?;
        value.set_sensitive(true);
        self.headers.push((name, value));
        Ok(self)
    }

    /// Sets how long connecting and a whole request may take, a day at most; a request that takes longer is tried again.
    /// Default: 5 and 15 seconds.
    pub fn timeouts(mut self, connect: Duration, overall: Duration) -> Webhook {
        (self.connecting.connect, self.connecting.overall) = (connect.min(LONGEST), overall.min(LONGEST));
        self.agent = self.connecting.agent();
        self
    }

    /// Trusts only servers whose certificate one of these authorities (PEM) has issued, for receivers inside an
    /// organisation. By default the authorities that Mozilla trusts are used, compiled in; the machine's own are
    /// ignored. Needs the feature `tls`.
    ///
    /// # Errors
    /// If the PEM holds no certificate, or something else than certificates.
    #[cfg(feature = "tls")]
    pub fn ca_certificates(mut self, pem: &[u8]) -> Result<Webhook, InvalidSetting> {
        let mut certificates = Vec::new();
        for item in parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                Ok(_) => {}
                Err(error) => return Err(InvalidSetting::new("the authorities' certificates are not PEM").caused_by(error)),
            }
        }
        if certificates.is_empty() {
            return Err(InvalidSetting::new("there is no certificate of an authority"));
        }
        self.connecting.trusted = certificates.into();
        self.agent = self.connecting.agent();
        Ok(self)
    }

    /// Sets how events are written: their `source` and the prefix of their `type`.
    pub fn cloud_events(mut self, cloud_events: CloudEvents) -> Webhook {
        self.cloud_events = cloud_events;
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
        #[cfg(feature = "tls")]
        let config = config.tls_config(TlsConfig::builder().root_certs(self.trusted.clone()).build());
        config.build().into()
    }
}

impl Publisher for Webhook {
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        let body = self.cloud_events.to_json(message)?;
        let id = message.id().to_string();
        let timestamp = unix_seconds();
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", CloudEvents::CONTENT_TYPE)
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp.to_string());
        if !self.keys.is_empty() {
            request = request.header("webhook-signature", signatures(&self.keys, &id, timestamp, &body)?);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = request.send(&body).map_err(|error| PublishError::Retry(error.to_string()))?;
        let judged = judge(&response);
        // The body is read only so that the connection can be reused; the status has the answer.
        let _ = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        judged
    }
}

/// The signatures of Standard Webhooks, one for each secret, separated by spaces.
fn signatures(keys: &[Vec<u8>], id: &str, timestamp: u64, body: &[u8]) -> Result<String, PublishError> {
    let signed: Result<Vec<_>, _> = keys.iter().map(|key| signature(key, id, timestamp, body)).collect();
    Ok(signed?.join(" "))
}

fn signature(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> Result<String, PublishError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| PublishError::Reject(error.to_string()))?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}

/// Seconds since 1970; 0 if the clock is earlier.
fn unix_seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// Decides from the status whether the event is delivered, to be tried again, or refused.
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
    // A date in the past asks for no pause.
    Some(Duration::from_secs(u64::try_from(date.timestamp()).unwrap_or(0).saturating_sub(unix_seconds())))
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret is left out, and so is the path: many receivers are authorised by a secret path.
        f.debug_struct("Webhook").field("host", &self.url.host()).field("signed", &!self.keys.is_empty()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let webhook = Webhook::new("http://localhost/").unwrap().secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = signatures(&webhook.keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
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
        let date = DateTime::from_timestamp_secs(unix_seconds().cast_signed() + 90)
            .unwrap()
            .format("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let Err(PublishError::RetryAfter(_, pause)) = judged(503, Some(&date)) else { panic!("{date}") };
        assert!((80..=90).contains(&pause.as_secs()), "{pause:?}");
    }

    #[test]
    fn times_are_those_of_the_documentation_or_those_that_were_set() {
        let times = |webhook: &Webhook| {
            let times = webhook.agent.config().timeouts();
            (times.connect, times.global)
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let webhook = Webhook::new("http://localhost/").unwrap();
        assert_eq!(times(&webhook), (seconds(5), seconds(15)));
        let webhook = webhook.timeouts(Duration::from_secs(2), Duration::from_secs(3));
        assert_eq!(times(&webhook), (seconds(2), seconds(3)));
        assert_eq!(times(&webhook.timeouts(Duration::MAX, Duration::from_secs(86_401))), (seconds(86_400), seconds(86_400)));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_secrets_do_not_show() {
        for url in ["", "localhost", "ftp://localhost/", "http://", "http://a b/"] {
            assert!(Webhook::new(url).unwrap_err().to_string().starts_with("webhook: the address "), "{url}");
        }
        assert_eq!(Webhook::new("https://localhost/").is_ok(), cfg!(feature = "tls"));
        let webhook = || Webhook::new("http://localhost/canary").unwrap();
        for secret in ["whsec_?", "", "whsec_AAAA"] {
            assert!(webhook().secret(secret).unwrap_err().to_string().starts_with("webhook: the secret "), "{secret}");
        }
        assert!(webhook().header("a b", "c").is_err());
        assert!(webhook().header("a", "c\n").is_err());
        let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let shown = format!("{:?}", webhook().secret(secret).unwrap().header("authorization", "canary").unwrap());
        assert!(!shown.contains("canary") && !shown.contains(&secret[..8]), "{shown}");
    }
}
