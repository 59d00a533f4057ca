//! Tables of a real PostgreSQL server: `user_events` as an event store of another kind has it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::Place;

/// A server of its own, in a folder of its own, reached by a socket. It ends with the test.
struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
    /// PostgreSQL does not run as root.
    as_postgres: bool,
}

impl Server {
    /// `None`, said loudly, if PostgreSQL is not installed; in CI that is a failure.
    fn start() -> Option<Server> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let Some(programs) = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists()) else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing: install the package postgresql");
            eprintln!("SKIPPED: PostgreSQL is missing; install the package postgresql");
            return None;
        };
        let user = Command::new("id").arg("-u").output().unwrap();
        let as_postgres = user.stdout.trim_ascii() == b"0";
        let server = Server { folder: tempfile::tempdir().unwrap(), programs, as_postgres };
        if as_postgres {
            assert!(Command::new("chown").arg("postgres").arg(server.folder.path()).status().unwrap().success());
        }
        let data = server.folder.path().join("data");
        server.run("initdb", &["-D", data.to_str().unwrap(), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"], "");
        let options = format!("-c listen_addresses= -c fsync=off -k {}", server.folder.path().display());
        let log = server.folder.path().join("log");
        server.run("pg_ctl", &["-D", data.to_str().unwrap(), "-w", "-o", &options, "-l", log.to_str().unwrap(), "start"], "");
        Some(server)
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> String {
        use std::io::Write;
        let program = self.programs.join(program);
        let mut command = match self.as_postgres {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(&program);
                command
            }
            false => Command::new(&program),
        };
        // The server that pg_ctl starts keeps what it inherits open, so its output goes nowhere.
        let out = if program.ends_with("pg_ctl") { Stdio::null() } else { Stdio::piped() };
        let command = command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::piped()).stdout(out);
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", program.display());
        String::from_utf8(output.stdout).unwrap()
    }

    fn sql(&self, sql: &str) -> String {
        let socket = self.folder.path().to_str().unwrap();
        self.run("psql", &["-h", socket, "-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"], sql)
    }

    fn dump(&self) -> String {
        self.run("pg_dump", &["-h", self.folder.path().to_str().unwrap(), "-U", "postgres"], "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-D", self.folder.path().join("data").to_str().unwrap(), "-m", "immediate", "stop"], "");
    }
}

const TABLES: &str = r#"
CREATE TABLE user_events (
  id UUID PRIMARY KEY, "aggregateId" UUID NOT NULL, "eventType" VARCHAR(100) NOT NULL, version INTEGER NOT NULL,
  "eventData" JSONB NOT NULL, "tenantId" UUID, metadata JSONB, "occurredAt" TIMESTAMP NOT NULL, UNIQUE ("aggregateId", version)
);
CREATE TABLE user_snapshots (
  id UUID PRIMARY KEY, "aggregateId" UUID NOT NULL, version INTEGER NOT NULL, state JSONB NOT NULL, "tenantId" UUID,
  metadata JSONB, "createdAt" TIMESTAMP NOT NULL
);
INSERT INTO user_events SELECT
  ('00000000-0000-4000-8000-' || lpad(to_hex(n * 1000 + v), 12, '0'))::uuid, ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid,
  CASE v WHEN 1 THEN 'UserCreated' ELSE 'UserUpdated' END, v,
  jsonb_build_object('email', 'u' || n || '@example.org', 'visits', v, 'note', E'tab\t "quoted", back\\slash\nline ü'),
  CASE WHEN n % 2 = 0 THEN '11111111-1111-4111-8111-111111111111'::uuid END,
  CASE WHEN v = 1 THEN NULL ELSE jsonb_build_object('userId', 'root') END,
  TIMESTAMP '2025-10-22 13:00:00.123456' + v * INTERVAL '1 minute'
FROM generate_series(1, 20) n, generate_series(1, 25) v ORDER BY v, n;
INSERT INTO user_snapshots SELECT gen_random_uuid(), "aggregateId", version, "eventData", "tenantId", metadata, "occurredAt"
FROM user_events WHERE version = 25;
"#;

#[test]
fn a_table_is_imported_from_a_real_server_in_every_format() {
    let Some(server) = Server::start() else { return };
    let place = Place::new();
    server.sql(TABLES);
    let ordered = r#"(SELECT * FROM user_events ORDER BY "occurredAt", id)"#;
    let formats = [
        ("pg-csv", server.sql(&format!("COPY {ordered} TO STDOUT (FORMAT csv, HEADER);"))),
        ("pg-copy", server.sql(&format!("COPY {ordered} TO STDOUT (HEADER);"))),
        ("pg-copy", server.dump()),
        ("pg-json", server.sql(&format!("\\t\n\\pset format unaligned\nSELECT row_to_json(t) FROM {ordered} t;"))),
    ];
    let mut exports = Vec::new();
    for (number, (format, rows)) in formats.iter().enumerate() {
        let (file, input) = (format!("{number}.db"), format!("{number}.rows"));
        std::fs::write(place.path(&input), rows).unwrap();
        let import = ["import", &file, &input, "--format", format, "--aggregate-type", "user"];
        assert!(place.done(&import).contains("500 events added"), "{format}");
        assert!(place.done(&import).contains("0 events added in 0 commits, 500 already there"), "{format}");
        place.done(&["verify", &file]);
        let state = &place.json(&["replay", &file, "user/00000000-0000-4000-9000-000000000003", "--version", "7"])[0];
        assert_eq!(state["state"]["visits"], 7);
        assert_eq!(state["state"]["note"], "tab\t \"quoted\", back\\slash\nline ü");
        let of_tenant = place.json(&["ls", &file, "--tenant", "11111111-1111-4111-8111-111111111111"]);
        assert_eq!(of_tenant.len(), 10);
        let mut lines: Vec<String> = place.done(&["export", &file, "--all-tenants"]).lines().map(essence).collect();
        lines.sort();
        exports.push(lines);
    }
    assert!(exports.iter().all(|export| *export == exports[0]), "every format says the same");
    // What the other store had as its state is what a replay gives.
    let states =
        server.sql(r#"COPY (SELECT "aggregateId", state FROM user_snapshots WHERE "tenantId" IS NULL) TO STDOUT (FORMAT csv);"#);
    assert_eq!(states.lines().count(), 10);
    for line in states.lines() {
        let (id, state) = line.split_once(',').unwrap();
        let state = state.trim_matches('"').replace("\"\"", "\"");
        let replayed = &place.json(&["replay", "0.db", &format!("user/{id}")])[0]["state"];
        assert_eq!(*replayed, serde_json::from_str::<serde_json::Value>(&state).unwrap());
    }
    assert!(Path::new(&place.path("0.db")).exists());
}

/// An exported event without what depends on how much was appended at once.
fn essence(line: &str) -> String {
    let mut event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    event.remove("commit");
    event.remove("position");
    serde_json::to_string(&event).unwrap()
}
