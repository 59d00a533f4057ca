//! The example as a user runs it: its output under promtool, and a real Prometheus server that scrapes it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use foldlog::metrics::{Kind, METRICS};
use serde_json::Value;

use crate::tools::{example, promtool, said, tool};

/// The eleven of the contract, with the series by which a query finds them.
fn the_eleven() -> Vec<String> {
    METRICS[..11]
        .iter()
        .map(|metric| match metric.kind {
            Kind::Histogram => format!("{}_bucket", metric.name),
            _ => metric.name.to_owned(),
        })
        .collect()
}

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_prints_all_eleven_and_promtool_accepts_them_but_for_the_one_known_name() {
    let output = Command::new(example()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let samples: Vec<_> =
        text.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| !series.starts_with('#')).collect();
    for name in the_eleven() {
        let moved = samples.iter().any(|(series, value)| series.split('{').next() == Some(&name) && *value != "0");
        assert!(moved, "{name} did not move:\n{text}");
    }
    let Some(checked) = promtool(&["check", "metrics"], &text) else { return };
    let said = said(&checked);
    assert_eq!(said.trim(), "event_snapshots_total non-counter metrics should not have \"_total\" suffix");
}

#[test]
fn a_prometheus_server_that_scrapes_it_finds_all_eleven() {
    if tool("prometheus").is_none() {
        return;
    }
    let mut served = Command::new(example()).args(["--serve", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(served.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _served = Running(served);
    let target = line.trim().strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap().to_owned();

    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prometheus.yml");
    let scrape = format!(
        "scrape_configs:\n  - job_name: foldlog\n    scrape_interval: 1s\n    static_configs:\n      - targets: [\"{target}\"]\n"
    );
    std::fs::write(&config, scrape).unwrap();
    // A port that was free a moment ago.
    let api = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _prometheus = Running(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={api}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let query = |expression: &str| -> Option<Vec<Value>> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut stream = TcpStream::connect(api).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.write_all(format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        body["data"]["result"].as_array().cloned()
    };
    let found = |expression: &str| query(expression).is_some_and(|series| !series.is_empty());
    let wait_for = |expression: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !found(expression) {
            assert!(Instant::now() < deadline, "Prometheus has no {expression}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    for name in the_eleven() {
        wait_for(&format!("{name}{{job=\"foldlog\"}}"));
    }
    // And they are of use: the example goes on working, so there is a rate and a quantile.
    wait_for("sum(rate(event_store_events_total[30s])) > 0");
    wait_for("histogram_quantile(0.99, sum by (le) (rate(event_replay_duration_seconds_bucket[30s]))) > 0");
}
