//! Chess games. Outside truth: positions (FEN) of the rules engine python-chess, results of the games' own headers.

use std::collections::BTreeMap;

use foldlog::{Aggregate, Replayed, SnapshotPolicy};
use serde::{Deserialize, Serialize};

use crate::streams::DataSet;
use crate::support::{TestStore, assert_holds};

#[derive(Serialize, Deserialize)]
struct Captured {
    square: String,
}

#[derive(Serialize, Deserialize)]
struct Rook {
    from: String,
    to: String,
}

#[derive(Serialize, Deserialize)]
enum GameEvent {
    GameStarted { start_fen: String },
    MovePlayed { ply: u64, from: String, to: String, captured: Option<Captured>, promotion: Option<char>, rook: Option<Rook> },
    GameEnded { result: String },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Game {
    pieces: BTreeMap<String, char>,
    plies: u64,
    result: Option<String>,
}

impl Aggregate for Game {
    const TYPE: &'static str = "game";
    type Event = GameEvent;

    fn apply(&mut self, event: GameEvent) {
        match event {
            GameEvent::GameStarted { start_fen } => self.pieces = pieces_of(&start_fen),
            GameEvent::MovePlayed { ply, from, to, captured, promotion, rook } => {
                if let Some(captured) = captured {
                    self.pieces.remove(&captured.square);
                }
                if let Some(piece) = self.pieces.remove(&from) {
                    self.pieces.insert(to, promotion.unwrap_or(piece));
                }
                if let Some(rook) = rook
                    && let Some(piece) = self.pieces.remove(&rook.from)
                {
                    self.pieces.insert(rook.to, piece);
                }
                self.plies = ply;
            }
            GameEvent::GameEnded { result } => self.result = Some(result),
        }
    }
}

/// The first field of a FEN: rows from the eighth down, digits for empty squares.
fn pieces_of(fen: &str) -> BTreeMap<String, char> {
    let mut pieces = BTreeMap::new();
    for (row, rank) in fen.split(' ').next().unwrap().split('/').zip((1..=8).rev()) {
        let mut file = b'a';
        for character in row.chars() {
            match character.to_digit(10) {
                Some(empty) => file += empty as u8,
                None => {
                    pieces.insert(format!("{}{rank}", char::from(file)), character);
                    file += 1;
                }
            }
        }
    }
    pieces
}

#[derive(Deserialize)]
struct Truth {
    aggregate_id: String,
    version: u64,
    plies: u64,
    result: String,
    final_fen: String,
    fen_every_10_plies: Vec<(u64, String)>,
}

#[test]
fn every_position_of_the_rules_engine() {
    let Some(set) = DataSet::find("chess-bbddnrr-2025") else { return };
    let file = TestStore::filled(&set, SnapshotPolicy::every(25).retain(100));
    assert_holds(&file.store, &set);
    let games = file.store.aggregates::<Game>();
    let truths: Vec<Truth> = set.rows("final_states.ndjson.gz").collect();
    assert_eq!(truths.len(), 45);
    for truth in &truths {
        let id = truth.aggregate_id.as_str();
        let game = games.replay(id).unwrap();
        assert_eq!(game.version, truth.version, "{id}");
        assert_eq!(game.state.pieces, pieces_of(&truth.final_fen), "{id}");
        assert_eq!(game.state.result.as_ref(), Some(&truth.result), "{id}");
        assert_eq!(game.state.plies, truth.plies, "{id}");

        // That replay made the only snapshot, at the end: no checkpoint may start from it.
        assert!(game.from_snapshot.is_none());
        assert_eq!(games.snapshots(id).unwrap().len(), usize::from(truth.version >= 25), "{id}");
        for (ply, fen) in &truth.fen_every_10_plies {
            // The first event starts the game, so ply n is version n + 1.
            let full = games.without_snapshots().replay_to_version(id, ply + 1).unwrap();
            assert_eq!(full.state.pieces, pieces_of(fen), "{id} after {ply} plies");
            assert_eq!(full.state.plies, *ply, "{id}");
            assert_eq!(games.replay_to_version(id, ply + 1).unwrap().state, full.state, "{id} after {ply} plies");
        }
    }
    let rebuilt =
        games.replay_each().run(|_, _: &Replayed<Game>| Ok::<(), String>(()), |_| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!((rebuilt.total, rebuilt.succeeded, rebuilt.failed), (45, 45, 0));
}

/// The games as they were played: appended move by move, a snapshot every 25 events.
#[test]
fn checkpoints_start_from_the_snapshots_before_them() {
    const EVERY: u64 = 25;
    let Some(set) = DataSet::find("chess-bbddnrr-2025") else { return };
    let file = TestStore::new(SnapshotPolicy::every(EVERY).retain(100));
    let games = file.store.aggregates::<Game>();
    for line in set.events() {
        let version = games.version(&line.aggregate_id).unwrap();
        games.append_events(&line.aggregate_id, version, [line.event()]).unwrap();
    }
    assert_holds(&file.store, &set);
    for truth in set.rows::<Truth>("final_states.ndjson.gz") {
        let id = truth.aggregate_id.as_str();
        for (ply, fen) in &truth.fen_every_10_plies {
            let game = games.replay_to_version(id, ply + 1).unwrap();
            assert_eq!(game.state.pieces, pieces_of(fen), "{id} after {ply} plies");
            assert_eq!(game.state.plies, *ply, "{id}");
            let snapshot = (ply + 1) - (ply + 1) % EVERY;
            assert_eq!(game.from_snapshot.map_or(0, |version| version.get()), snapshot, "{id} after {ply} plies");
        }
    }
}
