//! What a power cut could leave of a recorded history.
//!
//! The rules, which are harsher than any one file system: what was synced is there. Of what was not, each write is
//! there, or lost, or there in part (in units of 512 bytes), whatever the order; where a lost write would have made the
//! file longer there may be zeros or rubbish; each truncation is there or not; each name is there or not, until the
//! directory was synced.

use std::collections::{BTreeMap, HashMap};

use super::state::put;
use super::{Files, Op};
use crate::support::random::Random;

const SECTOR: usize = 512;

/// Everything that happened to a disk.
pub struct Recording {
    pub start: Files,
    ops: Vec<Op>,
}

/// What a power cut left.
pub struct Image {
    pub files: Files,
    /// What had been promised before the cut: the highest mark.
    pub promised: u64,
    /// After which operation the power went.
    pub cut: usize,
}

/// How much of what was not synced is lost, in per cent, and how.
#[derive(Clone, Copy)]
struct Loss {
    lost: u64,
    torn: u64,
    rubbish: bool,
    /// Names are lost from the newest on, as a journalling file system does it; or each for itself.
    names_in_order: bool,
}

impl Recording {
    pub fn new(start: Files, ops: Vec<Op>) -> Recording {
        Recording { start, ops }
    }

    pub fn len(&self) -> usize {
        self.ops.len()
    }

    pub fn syncs(&self) -> usize {
        self.ops.iter().filter(|op| matches!(op, Op::Sync(_))).count()
    }

    /// The power goes at some moment.
    pub fn cut(&self, random: &mut Random) -> Image {
        self.cut_at(random.index(self.ops.len() + 1), random)
    }

    /// The power goes after this many operations.
    pub fn cut_at(&self, cut: usize, random: &mut Random) -> Image {
        let done = &self.ops[..cut];
        let loss = choose(random);
        let names = names(done, loss, random);
        let mut contents: HashMap<usize, Vec<u8>> = names.values().map(|inode| (*inode, Vec::new())).collect();
        let synced = last_syncs(done);
        let mut promised = 0;
        for (at, op) in done.iter().enumerate() {
            match op {
                Op::Write(inode, ..) | Op::Truncate(inode, _) => {
                    let Some(data) = contents.get_mut(inode) else { continue };
                    let safe = synced.get(inode).is_some_and(|last| at < *last);
                    if safe { apply(data, op) } else { apply_in_part(data, op, loss, random) }
                }
                Op::Mark(promise) => promised = promised.max(*promise),
                Op::Create(..) | Op::Unlink(_) | Op::Sync(_) | Op::SyncDirectory => {}
            }
        }
        let files = names.into_iter().map(|(name, inode)| (name, contents.get(&inode).cloned().unwrap_or_default())).collect();
        Image { files, promised, cut }
    }
}

/// Each image has a character of its own: all there, all lost, and what lies between.
fn choose(random: &mut Random) -> Loss {
    let lost = [0, 10, 50, 90, 100][random.index(5)];
    Loss { lost, torn: [0, 20, 60][random.index(3)], rubbish: random.chance(25), names_in_order: random.chance(50) }
}

fn last_syncs(done: &[Op]) -> HashMap<usize, usize> {
    let mut synced = HashMap::new();
    for (at, op) in done.iter().enumerate() {
        if let Op::Sync(inode) = op {
            synced.insert(*inode, at);
        }
    }
    synced
}

fn names(done: &[Op], loss: Loss, random: &mut Random) -> BTreeMap<String, usize> {
    let safe_until = done.iter().rposition(|op| matches!(op, Op::SyncDirectory)).unwrap_or(0);
    let mut names = BTreeMap::new();
    let mut still_in_order = true;
    for (at, op) in done.iter().enumerate() {
        if !matches!(op, Op::Create(..) | Op::Unlink(_)) {
            continue;
        }
        let lost = at > safe_until && random.chance(loss.lost);
        still_in_order &= !lost;
        if lost || (loss.names_in_order && !still_in_order) {
            continue;
        }
        match op {
            Op::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Op::Unlink(name) => {
                names.remove(name);
            }
            _ => {}
        }
    }
    names
}

fn apply(data: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(_, offset, bytes) => put(data, *offset, bytes),
        Op::Truncate(_, length) => data.resize(*length as usize, 0),
        _ => {}
    }
}

fn apply_in_part(data: &mut Vec<u8>, op: &Op, loss: Loss, random: &mut Random) {
    let lost = random.chance(loss.lost);
    let Op::Write(_, offset, bytes) = op else {
        if !lost {
            apply(data, op);
        }
        return;
    };
    if !random.chance(loss.torn) {
        match lost {
            false => put(data, *offset, bytes),
            true => lose(data, *offset, bytes.len(), loss, random),
        }
        return;
    }
    // Sectors of the disk, not of the write.
    let mut from = 0;
    while from < bytes.len() {
        let at = *offset as usize + from;
        let to = (from + SECTOR - at % SECTOR).min(bytes.len());
        match random.chance(loss.lost) {
            false => put(data, at as u64, &bytes[from..to]),
            true => lose(data, at as u64, to - from, loss, random),
        }
        from = to;
    }
}

/// A write that never arrived: the file may have grown all the same.
fn lose(data: &mut Vec<u8>, offset: u64, length: usize, loss: Loss, random: &mut Random) {
    let end = offset as usize + length;
    if data.len() >= end || random.chance(50) {
        return;
    }
    let from = data.len();
    data.resize(end, 0);
    if loss.rubbish {
        for byte in &mut data[from..] {
            *byte = random.next() as u8;
        }
    }
}
