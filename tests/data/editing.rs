//! Keystroke histories of four documents. Outside truth: the final text that the author of each trace published.

use foldlog::{Aggregate, Aggregates, Replayed, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::streams::{DataSet, Line};
use crate::support::{TestStore, assert_holds};
use crate::text::Text;

#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::enum_variant_names, reason = "the source's event types")]
enum Edit {
    TextInserted { pos: usize, text: String },
    TextDeleted { pos: usize, count: usize },
    TextReplaced { pos: usize, count: usize, text: String },
    TextEdited { patches: Vec<(usize, usize, String)> },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Document {
    text: Text,
}

impl Aggregate for Document {
    const TYPE: &'static str = "document";
    type Event = Edit;

    fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::TextInserted { pos, text } => self.text.replace(pos, 0, &text),
            Edit::TextDeleted { pos, count } => self.text.replace(pos, count, ""),
            Edit::TextReplaced { pos, count, text } => self.text.replace(pos, count, &text),
            Edit::TextEdited { patches } => {
                for (pos, count, text) in patches {
                    self.text.replace(pos, count, &text);
                }
            }
        }
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text_of(replayed: &Replayed<Document>) -> String {
    replayed.state.text.clone().into()
}

/// The text published by the trace's author.
fn assert_final(replayed: &Replayed<Document>, set: &DataSet) {
    let truth = &set.truth()["external_truth"];
    let text = text_of(replayed);
    assert_eq!(text.chars().count() as u64, truth["final_text_chars"].as_u64().unwrap());
    assert_eq!(text.len() as u64, truth["final_text_utf8_bytes"].as_u64().unwrap());
    assert_eq!(Value::from(sha256(&text)), truth["final_text_sha256"]);
    assert!(text == set.text("final.txt.gz"), "the digest is right and the text is not");
}

/// The text after N events: with snapshots and without them the same, and the right one.
fn assert_checkpoints(documents: &Aggregates<Document>, id: &str, set: &DataSet, snapshots_every: u64) {
    let truth = set.truth();
    let checkpoints = truth["derived_checkpoints"]["at"].as_array().unwrap();
    assert!(checkpoints.len() >= 10);
    for checkpoint in checkpoints {
        let version = checkpoint["after_events"].as_u64().unwrap();
        let fast = documents.replay_to_version(id, version).unwrap();
        let full = documents.without_snapshots().replay_to_version(id, version).unwrap();

        assert_eq!(fast.version, version);
        assert_eq!(full.version, version);
        let snapshot = version - version % snapshots_every;
        assert_eq!(fast.from_snapshot.map_or(0, |version| version.get()), snapshot, "which snapshot");
        assert_eq!((full.from_snapshot, full.events_folded), (None, version));
        assert_eq!(fast.events_folded, version - snapshot);
        assert!(fast.warnings.is_empty());
        let text = text_of(&full);
        assert!(text == text_of(&fast), "version {version}: the snapshot changes the result");
        assert_eq!(text.chars().count() as u64, checkpoint["chars"].as_u64().unwrap(), "version {version}");
        assert_eq!(text.len() as u64, checkpoint["utf8_bytes"].as_u64().unwrap(), "version {version}");
        assert_eq!(Value::from(sha256(&text)), checkpoint["sha256"], "version {version}");
    }
}

/// Appends a trace through the typed handle, event by event decoded and encoded again.
fn typed(name: &str) {
    const EVERY: u64 = 500;
    let Some(set) = DataSet::find(name) else { return };
    let file = TestStore::new(SnapshotPolicy::every(EVERY).retain(100));
    let documents = file.store.aggregates::<Document>();
    let lines: Vec<Line> = set.events().collect();
    let id = lines[0].aggregate_id.as_str();
    let mut version = 0;
    for some in lines.chunks(EVERY as usize / 2) {
        let edits = some.iter().map(decode);
        version = documents.append(id, version, edits).unwrap().version.get();
    }
    assert_eq!(version, lines.len() as u64);
    assert_final(&documents.replay(id).unwrap(), &set);
    assert_checkpoints(&documents, id, &set, EVERY);
}

fn decode(line: &Line) -> Edit {
    // serde's own reading of an externally tagged enum, as a reference for the store's.
    let tagged = format!("{{{:?}:{}}}", line.event_type, line.data);
    serde_json::from_str(&tagged).unwrap()
}

#[test]
fn friends_forever() {
    typed("editing-friendsforever");
}

#[test]
fn json_crdt_patch_with_characters_of_several_bytes() {
    typed("editing-json-crdt-patch");
}

#[test]
fn svelte_component() {
    typed("editing-sveltecomponent");
}

/// A history of 259,778 events of one aggregate, appended as the source's own JSON.
#[test]
fn automerge_paper() {
    const EVERY: u64 = 20_000;
    let Some(set) = DataSet::find("editing-automerge-paper") else { return };
    let file = TestStore::new(SnapshotPolicy::every(EVERY).retain(100));
    let documents = file.store.aggregates::<Document>();
    let id = "automerge-paper";
    let mut version = 0;
    let mut lines = set.events().peekable();
    while lines.peek().is_some() {
        let events = lines.by_ref().take(5_000).map(|line| line.event());
        version = documents.append_events(id, version, events).unwrap().version.get();
    }
    assert_holds(&file.store, &set);
    assert_final(&documents.replay(id).unwrap(), &set);
    assert_checkpoints(&documents, id, &set, EVERY);
}
