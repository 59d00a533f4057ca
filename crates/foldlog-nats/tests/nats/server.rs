//! Debian's nats-server with JetStream.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog_nats::async_nats::jetstream::{self, stream};
use foldlog_nats::async_nats::{Client, ConnectError, ConnectOptions};
use tokio::runtime::{Builder, Runtime};

/// How the test's own connections are made.
pub type Connect = Arc<dyn Fn() -> ConnectOptions>;

/// A real server, killed when it goes.
pub struct Server {
    child: Child,
    pub url: String,
    place: Place,
}

/// Where a server is, and how it is reached: to start it again there.
#[derive(Clone)]
pub struct Place {
    /// A name of this machine.
    host: &'static str,
    port: u16,
    directory: PathBuf,
    /// Beside those that every one has.
    arguments: Vec<OsString>,
    options: Connect,
}

impl Server {
    /// With JetStream. `None`, said loudly, if there is no nats-server here; in CI that is a failure.
    pub fn start(directory: &Path) -> Option<Server> {
        Server::start_with(directory, "127.0.0.1", vec!["-js".into()], Arc::new(ConnectOptions::new))
    }

    /// With these arguments; the test's own connections go to this name of the machine.
    pub fn start_with(directory: &Path, host: &'static str, arguments: Vec<OsString>, options: Connect) -> Option<Server> {
        let found = Command::new("nats-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !found {
            assert!(std::env::var_os("CI").is_none(), "nats-server is not installed");
            eprintln!("SKIPPED: nats-server is not installed; nothing was tested");
            return None;
        }
        Some(Server::start_at(Place { host, port: free_port(), directory: directory.to_owned(), arguments, options }))
    }

    pub fn start_at(place: Place) -> Server {
        let child = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &place.port.to_string(), "-sd"])
            .arg(&place.directory)
            .args(&place.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { child, url: format!("nats://{}:{}", place.host, place.port), place };
        server.ask(async |_| ());
        server
    }

    /// Asks the server something, on a connection of the test's own.
    pub fn ask<T>(&self, what: impl AsyncFnOnce(jetstream::Context) -> T) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        let runtime = runtime();
        loop {
            match runtime.block_on(self.connection()) {
                Ok(client) => return runtime.block_on(async { what(jetstream::new(client)).await }),
                Err(error) => assert!(Instant::now() < deadline, "no connection to nats-server: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A connection of the test's own, to be made.
    pub fn connection(&self) -> impl Future<Output = Result<Client, ConnectError>> + Send + use<> {
        let (options, url) = ((self.place.options)(), self.url.clone());
        async move { options.connect(url).await }
    }

    /// Whether it tells its clients of this member of its cluster.
    pub fn knows(&self, member: &str) -> bool {
        let client = runtime().block_on(self.connection()).unwrap();
        client.server_info().connect_urls.iter().any(|url| url == member)
    }

    pub fn make_stream(&self) {
        let config = stream::Config {
            name: "SHOP".into(),
            subjects: vec!["shop.>".into()],
            max_message_size: 4_096,
            ..Default::default()
        };
        self.ask(async |jetstream| drop(jetstream.create_stream(config).await.unwrap()));
    }

    /// How many messages the stream holds.
    pub fn messages(&self) -> u64 {
        self.ask(async |jetstream| jetstream.get_stream("SHOP").await.unwrap().get_info().await.unwrap().state.messages)
    }

    pub fn stop(mut self) -> Place {
        self.end();
        self.place.clone()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
