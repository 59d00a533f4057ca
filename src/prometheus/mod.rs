//! The metrics as Prometheus reads them (feature `prometheus`).
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
//! No runtime is needed, and none is started: the server is one thread. An application that has a recorder or a server of
//! its own uses [`with_buckets`] or [`Exporter::render`].

mod http;

use std::fmt;
use std::net::ToSocketAddrs;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use http::Server;

use crate::log::gauges;
use crate::metrics;
use crate::model::error::{Error, ErrorKind, Result};

/// How often samples are moved into their buckets when nobody scrapes. Two million samples left lying took 32 MB.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The metrics of this process, ready to be shown. Cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// Installs a recorder for the whole process, with the library's buckets, descriptions and upkeep. Before or after stores
/// are opened; other parts of the application may use it through the `metrics` facade as well.
///
/// The upkeep thread runs as long as the process: the recorder cannot be taken out again, and would otherwise keep each
/// sample for ever.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if the process has a recorder already; [`ErrorKind::Io`] if no thread can be had.
pub fn install() -> Result<Exporter> {
    let recorder = with_buckets(PrometheusBuilder::new())?.build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, "the process has a metrics recorder already")
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

/// Gives the library's buckets to a builder of the application's own, which may have an idle time-out, labels for the
/// whole process or a listener. The builder's crate, metrics-exporter-prometheus 0.18, is public by this function.
///
/// # Errors
/// None today.
pub fn with_buckets(builder: PrometheusBuilder) -> Result<PrometheusBuilder> {
    metrics::buckets().try_fold(builder, |builder, (name, bounds)| {
        builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
            .map_err(|error| Error::new(ErrorKind::Internal, "a histogram has no buckets").caused_by(error))
    })
}

impl Exporter {
    /// The metrics in Prometheus' text format, the gauges of all open stores read anew from their files.
    pub fn render(&self) -> String {
        gauges::refresh_all();
        self.handle.render()
    }

    /// Serves the metrics at `/metrics` of this address, until the result is dropped. Port 0 takes a free one.
    ///
    /// Whoever can reach the address can read the names of tenants, event types and aggregates: give it a loopback
    /// address, as in `127.0.0.1:9464`, unless the network around it is trusted. On a loopback address requests under
    /// another host name than `localhost` are refused, so that no web page reads along.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the address cannot be had.
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
