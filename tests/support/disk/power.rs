//! What a power cut could leave of a recorded history.
//!
//! The rules, which are harsher than any one file system: what was synced is there. Of what was not, each write is
//! there, or lost, or there in part (in units of 512 bytes), whatever the order; where a lost write would have made the
//! file longer there may be zeros or rubbish; each truncation is there or not; each name is there or not, until the
//! directory was synced.

use std::collections::{BTreeMap, HashMap};

use super::state::put;
use super::{Files, Op};
use crate::support::outcome::Outcome;
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

    /// So many moments, in order, after which the power goes: numbers of operations.
    pub fn moments(&self, count: u64, random: &mut Random) -> Vec<usize> {
        // What was on the disk before is written and synced by the first operations of the record.
        let begin = match self.start.is_empty() {
            true => 0,
            false => self.ops.iter().position(|op| matches!(op, Op::SyncDirectory)).map_or(0, |at| at + 1),
        };
        let mut moments: Vec<usize> = (0..count).map(|_| begin + random.index(self.ops.len() + 1 - begin)).collect();
        moments.sort_unstable();
        moments
    }

    pub fn cutter(&self) -> Cutter<'_> {
        Cutter { ops: &self.ops, at: 0, contents: HashMap::new(), promised: 0 }
    }

    /// Images of so many moments, each looked at by `check`, whose error is a violation.
    pub fn try_images(
        &self,
        count: u64,
        random: &mut Random,
        outcome: &mut Outcome,
        mut check: impl FnMut(&Image, &mut Outcome) -> Result<(), String>,
    ) {
        let mut cutter = self.cutter();
        for cut in self.moments(count, random) {
            outcome.rounds += 1;
            let image = cutter.cut_at(cut, random);
            if let Err(violation) = check(&image, outcome) {
                outcome.violation(format!("after operation {cut} of {}: {violation}", self.len()));
            }
        }
    }
}

/// Makes images, the later ones after later moments: what is safe by then is not worked out anew each time.
pub struct Cutter<'a> {
    ops: &'a [Op],
    at: usize,
    contents: HashMap<usize, Content<'a>>,
    promised: u64,
}

/// A file at some moment.
#[derive(Default)]
struct Content<'a> {
    safe: Vec<u8>,
    /// Writes and truncations since the last sync.
    unsafe_yet: Vec<&'a Op>,
}

impl Cutter<'_> {
    /// The power goes after this many operations.
    pub fn cut_at(&mut self, cut: usize, random: &mut Random) -> Image {
        assert!(cut >= self.at, "moments come in order");
        let ops = self.ops;
        ops[self.at..cut].iter().for_each(|op| self.go_on(op));
        self.at = cut;
        let loss = choose(random);
        let files = names(&ops[..cut], loss, random).into_iter().map(|(name, inode)| {
            let mut data = Vec::new();
            if let Some(content) = self.contents.get(&inode) {
                data.clone_from(&content.safe);
                content.unsafe_yet.iter().for_each(|op| apply_in_part(&mut data, op, loss, random));
            }
            (name, data)
        });
        Image { files: files.collect(), promised: self.promised }
    }
}

impl<'a> Cutter<'a> {
    fn go_on(&mut self, op: &'a Op) {
        match op {
            Op::Write(inode, ..) | Op::Truncate(inode, _) => self.contents.entry(*inode).or_default().unsafe_yet.push(op),
            Op::Sync(inode) => {
                let content = self.contents.entry(*inode).or_default();
                content.unsafe_yet.drain(..).for_each(|op| apply(&mut content.safe, op));
            }
            Op::Mark(promise) => self.promised = self.promised.max(*promise),
            Op::Create(..) | Op::Unlink(_) | Op::SyncDirectory => {}
        }
    }
}

/// Each image has a character of its own: all there, all lost, and what lies between.
fn choose(random: &mut Random) -> Loss {
    let lost = [0, 10, 50, 90, 100][random.index(5)];
    Loss { lost, torn: [0, 20, 60][random.index(3)], rubbish: random.chance(25), names_in_order: random.chance(50) }
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
