//! Queries by time, type, position and aggregate type against a plain list that is filtered: both orders, limits,
//! over many of the blocks of 512 positions whose summaries let a query pass over the rest of the log.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use foldlog::{Filter, Query, SnapshotPolicy, Store};

use crate::streams::{DataSet, Line};
use crate::support::{TestStore, append_all};

const BLOCK: usize = 512;

/// A question, for the store and for the list.
#[derive(Clone, Debug, Default)]
struct Question {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    event_types: Vec<String>,
    after: u64,
    up_to: Option<u64>,
}

impl Question {
    fn query(&self) -> Query {
        let mut filter = Filter::new().event_types(&self.event_types);
        if let Some(from) = self.from {
            filter = filter.from(from);
        }
        if let Some(to) = self.to {
            filter = filter.to(to);
        }
        let query = Query::matching(filter).after_position(self.after);
        self.up_to.into_iter().fold(query, Query::up_to_position)
    }

    /// Places in the list of the lines that answer it.
    fn answers(&self, lines: &[Line]) -> Vec<usize> {
        let wanted = |n: &usize| {
            let (line, position) = (&lines[*n], *n as u64 + 1);
            self.from.is_none_or(|from| line.occurred_at >= from)
                && self.to.is_none_or(|to| line.occurred_at <= to)
                && (self.event_types.is_empty() || self.event_types.contains(&line.event_type))
                && position > self.after
                && self.up_to.is_none_or(|up_to| position <= up_to)
        };
        (0..lines.len()).filter(wanted).collect()
    }
}

fn assert_answers(store: &Store, lines: &[Line], query: Query, expected: &[usize], question: &Question) {
    let mut events = store.read(query);
    for n in expected {
        let event = events.next().unwrap_or_else(|| panic!("{question:?}: line {n} is missing")).unwrap();
        let line = &lines[*n];
        assert_eq!(event.position, *n as u64 + 1, "{question:?}");
        assert_eq!((&*event.event_type, event.created_at), (&*line.event_type, line.occurred_at), "{question:?}");
    }
    let more = events.next().map(|event| event.unwrap().position);
    assert_eq!(more, None, "{question:?}");
}

/// Asks in both orders, and with limits around the number of answers and the size of a block.
fn compare(store: &Store, lines: &[Line], question: &Question) -> usize {
    let mut expected = question.answers(lines);
    let found = expected.len();
    for newest_first in [false, true] {
        let query = if newest_first { question.query().newest_first() } else { question.query() };
        assert_answers(store, lines, query.clone(), &expected, question);
        let limits = if newest_first { [1, found.saturating_sub(1).min(BLOCK + 1)] } else { [0, found.min(BLOCK) + 1] };
        for limit in limits {
            let first = &expected[..limit.min(found)];
            assert_answers(store, lines, query.clone().limit(limit as u64), first, question);
        }
        expected.reverse();
    }
    found
}

/// Ranges of time: empty, single moments, a few events around the block edges, long ones, open ends.
fn time_questions(lines: &[Line]) -> Vec<Question> {
    let mut ranges = Vec::new();
    let millisecond = TimeDelta::milliseconds(1);
    let edges = (0..lines.len()).step_by(BLOCK * (lines.len() / BLOCK / 3).max(1));
    for n in edges.flat_map(|n| [n.saturating_sub(1), n]) {
        let time = lines[n].occurred_at;
        let later = lines[(n + 700).min(lines.len() - 1)].occurred_at;
        ranges.extend([(Some(time), Some(time)), (Some(time), Some(later)), (Some(later + millisecond), Some(time))]);
    }
    let middle = lines[lines.len() / 2].occurred_at;
    ranges.extend([(Some(middle), None), (None, Some(middle - millisecond))]);
    let (least, most) =
        (lines.iter().map(|line| line.occurred_at).min().unwrap(), lines.iter().map(|line| line.occurred_at).max().unwrap());
    ranges.extend([(Some(most), None), (None, Some(least)), (Some(most + millisecond), None), (None, Some(least - millisecond))]);
    ranges.into_iter().map(|(from, to)| Question { from, to, ..Question::default() }).collect()
}

/// Each type alone, two together, types with times, types with positions, a type that nobody wrote.
fn type_questions(lines: &[Line], times: &[Question]) -> Vec<Question> {
    let event_types: BTreeSet<&str> = lines.iter().map(|line| line.event_type.as_str()).collect();
    let mut questions = Vec::new();
    for (event_type, n) in event_types.iter().zip(0usize..).take(4) {
        let one = Question { event_types: vec![(*event_type).to_owned()], ..Question::default() };
        let time = &times[n % times.len()];
        let middle = lines.len() as u64 / 2;
        questions.push(Question { from: time.from, to: time.to, ..one.clone() });
        questions.push(Question { after: middle - 1, up_to: Some(middle + 600), ..one.clone() });
        let other = *event_types.iter().next_back().unwrap();
        questions.push(Question {
            event_types: vec![other.to_owned(), (*event_type).to_owned()],
            from: time.from,
            to: time.to,
            ..Question::default()
        });
        questions.push(one);
    }
    questions.push(Question { event_types: vec!["NeverHappened".to_owned()], ..Question::default() });
    questions
}

fn compare_all(store: &Store, lines: &[Line]) {
    let times = time_questions(lines);
    let types = type_questions(lines, &times);
    let mut found = Vec::new();
    for question in times.iter().chain(&types) {
        found.push(compare(store, lines, question));
    }
    // Otherwise the comparison of empty lists would prove nothing.
    assert!(found.iter().filter(|found| **found > 0).count() >= 15, "{found:?}");
    assert!(found.contains(&0));
}

fn filled(lines: &[Line]) -> TestStore {
    let file = TestStore::new(SnapshotPolicy::manual());
    append_all(&file.store, lines.iter().cloned());
    file
}

#[test]
fn sources_whose_clocks_go_backwards() {
    for name in ["chess-bbddnrr-2025", "github-webhooks", "stackexchange-french-meta", "github-2021-07-21"] {
        let Some(set) = DataSet::find(name) else { return };
        let lines: Vec<Line> = set.events().collect();
        compare_all(&filled(&lines).store, &lines);
    }
}

/// 128 blocks in which times rise: most of them can be passed over.
#[test]
fn a_long_log_in_the_order_of_time() {
    let Some(set) = DataSet::find("process-bpic2013-incidents") else { return };
    let lines: Vec<Line> = set.events().collect();
    assert!(lines.len() > 100 * BLOCK);
    compare_all(&filled(&lines).store, &lines);
}

/// A part of it, imported case by case: every block spans years.
#[test]
fn a_long_log_in_the_order_of_its_cases() {
    let Some(set) = DataSet::find("process-bpic2013-incidents") else { return };
    let mut lines: Vec<Line> = set.events().collect();
    lines.sort_by(|a, b| a.aggregate_id.cmp(&b.aggregate_id));
    lines.truncate(30 * BLOCK + 7);
    let back = lines.windows(2).filter(|pair| pair[1].occurred_at < pair[0].occurred_at).count();
    assert!(back > 500);
    compare_all(&filled(&lines).store, &lines);
}

/// Log lengths around the end of a block, where the newest positions have no summary yet.
#[test]
fn logs_that_end_at_and_beside_a_block() {
    let Some(set) = DataSet::find("chess-bbddnrr-2025") else { return };
    let lines: Vec<Line> = set.events().collect();
    for length in [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1] {
        let lines = &lines[..length];
        let file = filled(lines);
        let mut found = 0;
        for question in time_questions(lines) {
            found += compare(&file.store, lines, &question);
        }
        for event_type in ["GameStarted", "MovePlayed", "GameEnded"] {
            found += compare(&file.store, lines, &Question { event_types: vec![event_type.to_owned()], ..Question::default() });
        }
        assert!(found >= length);
    }
}

/// A type and a time that a block holds only once, at its edge: its summary must not miss them.
#[test]
fn one_event_at_the_edge_of_a_block() {
    let Some(set) = DataSet::find("chess-bbddnrr-2025") else { return };
    let all: Vec<Line> = set.events().collect();
    let ended = all.iter().find(|line| line.event_type == "GameEnded").unwrap();
    let moves: Vec<Line> = all.iter().filter(|line| line.event_type == "MovePlayed").take(3 * BLOCK).cloned().collect();
    let latest = moves.iter().map(|line| line.occurred_at).max().unwrap();
    let earliest = moves.iter().map(|line| line.occurred_at).min().unwrap();
    for (n, time) in [
        (0, latest + TimeDelta::days(1)),
        (BLOCK - 1, earliest - TimeDelta::days(1)),
        (BLOCK, latest + TimeDelta::days(1)),
        (2 * BLOCK - 1, latest + TimeDelta::days(1)),
        (2 * BLOCK, earliest - TimeDelta::days(1)),
    ] {
        let mut lines = moves.clone();
        lines[n].event_type.clone_from(&ended.event_type);
        lines[n].occurred_at = time;
        let file = filled(&lines);
        let by_type = Question { event_types: vec![ended.event_type.clone()], ..Question::default() };
        let by_time = Question { from: Some(time), to: Some(time), ..Question::default() };
        for question in [by_type, by_time] {
            assert_eq!(compare(&file.store, &lines, &question), 1, "at {n}");
        }
    }
}

/// By aggregate type and by aggregate, from a version on.
#[test]
fn by_aggregate() {
    let Some(set) = DataSet::find("github-webhooks") else { return };
    let lines: Vec<Line> = set.events().collect();
    let file = filled(&lines);
    let store = &file.store;
    let none = Question::default();
    let types: BTreeSet<&str> = lines.iter().map(|line| line.aggregate_type.as_str()).collect();
    assert!(types.len() > 3);
    for aggregate_type in types {
        let of_type: Vec<usize> = (0..lines.len()).filter(|n| lines[*n].aggregate_type == aggregate_type).collect();
        assert_answers(store, &lines, Query::matching(Filter::new().aggregate_type(aggregate_type)), &of_type, &none);
        let ids: BTreeSet<&str> = of_type.iter().map(|n| lines[*n].aggregate_id.as_str()).collect();
        assert_eq!(
            store.json_aggregates(aggregate_type).ids().collect::<foldlog::Result<Vec<_>>>().unwrap(),
            ids.iter().copied().collect::<Vec<_>>()
        );
        for id in ids {
            let mut of_one: Vec<usize> = of_type.iter().copied().filter(|n| lines[*n].aggregate_id == id).collect();
            let query = Query::aggregate(aggregate_type, id);
            assert_answers(store, &lines, query.clone(), &of_one, &none);
            let half = of_one.len() / 2;
            assert_answers(store, &lines, query.clone().after_version(half as u64), &of_one[half..], &none);
            of_one.reverse();
            assert_answers(store, &lines, query.clone().newest_first(), &of_one, &none);
            assert_answers(store, &lines, query.newest_first().limit(2), &of_one[..of_one.len().min(2)], &none);
        }
    }
}
