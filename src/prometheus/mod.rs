//! The metrics in Prometheus' format (feature `prometheus`).
//!
//! ```
//! let metrics = foldlog::prometheus::install()?;
//! let store = foldlog::Store::in_memory()?;
//! store.append("account", "acc-1", 0, [foldlog::NewEvent::new("Opened", &())?])?;
//! assert!(metrics.render().contains(r#"event_store_events_total{event_type="Opened",tenant_id="default"} 1"#));
//!
//! let server = metrics.serve("127.0.0.1:0")?;
//! println!("http://{}/metrics", server.address());
//! # Ok::<(), foldlog::Error>(())
//! ```
//!
//! No runtime is needed or started: the server is one thread. An application with its own recorder or server uses
//! [`with_buckets`] or [`Exporter::render`].

mod http;

use std::fmt;
use std::net::ToSocketAddrs;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use http::Server;

use crate::log::gauges;
use crate::metrics;
use crate::model::error::{Error, ErrorKind, Result};

/// How often samples are moved into their buckets if nobody scrapes. Two million unprocessed samples took 32 MB.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// Installs a recorder for the whole process, with the library's buckets, descriptions and upkeep. It can be called
/// before or after stores are opened. Other parts of the application may use the recorder through the `metrics` facade
/// too.
///
/// The upkeep thread runs as long as the process: the recorder cannot be removed, and without upkeep it would keep each
/// sample for ever.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the process already has a recorder; [`ErrorKind::Io`] if no thread can be started.
pub fn install() -> Result<Exporter> {
    let recorder = with_buckets(PrometheusBuilder::new())?.build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, "the process already has a metrics recorder")
            .during("install the metrics exporter")
            .advice("give that one the buckets of foldlog::metrics::buckets() instead")
    })?;
    metrics::describe();
    let of_thread = handle.clone();
    spawn("foldlog-metrics", move || {
        loop {
            std::thread::sleep(UPKEEP_EVERY);
            of_thread.run_upkeep();
        }
    })?;
    Ok(Exporter { handle })
}

/// Adds the library's buckets to your own builder, which may have an idle time-out, labels for the whole process or a
/// listener. This function makes the builder's crate, metrics-exporter-prometheus 0.18, part of the public API.
///
/// # Errors
/// None at present.
pub fn with_buckets(builder: PrometheusBuilder) -> Result<PrometheusBuilder> {
    metrics::buckets().try_fold(builder, |builder, (name, bounds)| {
        builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
            .map_err(|error| Error::new(ErrorKind::Internal, "a histogram has no buckets").caused_by(error))
    })
}

impl Exporter {
    /// Renders the metrics in Prometheus' text format. The gauges of all open stores are read from their files first.
    pub fn render(&self) -> String {
        gauges::refresh_all();
        self.handle.render()
    }

    /// Serves the metrics at `/metrics` of this address until the result is dropped. Port 0 takes a free one.
    ///
    /// Anybody who can reach the address can read the names of tenants, event types and aggregates. Use a loopback
    /// address, such as `127.0.0.1:9464`, unless you trust the network. On a loopback address only requests for the
    /// host `localhost` are answered, so that no web page can read the metrics.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot listen on the address.
    pub fn serve(&self, address: impl ToSocketAddrs) -> Result<Server> {
        let exporter = self.clone();
        http::serve(address, move || exporter.render()).map_err(|error| error.during("serve metrics"))
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| Error::new(ErrorKind::Io, "a thread cannot be started").caused_by(error))
}
