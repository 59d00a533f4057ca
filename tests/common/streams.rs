//! Real event streams, and what others know about them: read from the folder `shared/data` beside the project, or from
//! where `FOLDLOG_DATA` says. They are not part of the project; without them a test says so and, in CI, fails.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use flate2::read::GzDecoder;
use foldlog::{Json, NewEvent};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// One event of a stream. `data` and `metadata` are the text of the source, byte for byte.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub event_type: String,
    pub data: Box<RawValue>,
    pub metadata: Box<RawValue>,
    pub occurred_at: DateTime<Utc>,
}

impl Line {
    /// The event as it is to be appended.
    pub fn event(&self) -> NewEvent {
        NewEvent::with_json(self.event_type.as_str(), Json::from_text(self.data.get()).unwrap())
            .metadata_json(Json::from_text(self.metadata.get()).unwrap())
            .created_at(self.occurred_at)
    }

    /// The aggregate that it belongs to.
    pub fn aggregate(&self) -> (&str, &str) {
        (&self.aggregate_type, &self.aggregate_id)
    }

    /// A member of the metadata that must be a text.
    pub fn metadata_text(&self, member: &str) -> String {
        let metadata: Value = serde_json::from_str(self.metadata.get()).unwrap();
        metadata[member].as_str().unwrap_or_else(|| panic!("the metadata has no text {member}: {metadata}")).to_owned()
    }
}

/// A folder with the events of one source and the truth about them.
pub struct DataSet {
    folder: PathBuf,
}

impl DataSet {
    /// `None`, after a loud line, if the data is not there.
    pub fn find(name: &str) -> Option<DataSet> {
        let root = match std::env::var_os("FOLDLOG_DATA") {
            Some(root) => PathBuf::from(root),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        };
        let folder = root.join(name);
        if folder.join("truth.json").is_file() {
            return Some(DataSet { folder });
        }
        let missing = format!("the data set {name} is not in {}; set FOLDLOG_DATA to the folder that holds it", root.display());
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        // Past the test harness, which shows the output of a passing test to nobody.
        std::io::stderr().write_all(format!("SKIPPED: {missing}\n").as_bytes()).unwrap();
        None
    }

    /// The events, one line at a time.
    pub fn events(&self) -> impl Iterator<Item = Line> + use<> {
        self.rows("events.ndjson.gz")
    }

    /// `truth.json`.
    pub fn truth(&self) -> Value {
        serde_json::from_reader(BufReader::new(self.file("truth.json"))).unwrap()
    }

    /// The rows of another compressed file of the data set.
    pub fn rows<T: DeserializeOwned>(&self, file: &str) -> impl Iterator<Item = T> + use<T> {
        BufReader::with_capacity(1 << 16, GzDecoder::new(self.file(file)))
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }

    /// A compressed text.
    pub fn text(&self, file: &str) -> String {
        let mut text = String::new();
        GzDecoder::new(self.file(file)).read_to_string(&mut text).unwrap();
        text
    }

    /// The path of one of its files.
    #[allow(dead_code, reason = "not every program that shares this module needs it")]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn file(&self, name: &str) -> File {
        let path = self.folder.join(name);
        File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
