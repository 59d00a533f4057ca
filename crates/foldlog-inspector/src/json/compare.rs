//! Two states side by side: which lines stayed, which came, went or changed.

use super::Node;

/// What happened to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Same,
    Added,
    Removed,
    Changed,
}

/// One side of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Side<'a> {
    /// A leaf, a bracket, or an empty pair of them.
    pub(crate) text: &'a str,
    pub(crate) comma: bool,
}

/// A line of both states. One side is missing where the other state has nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row<'a> {
    pub(crate) mark: Mark,
    pub(crate) depth: usize,
    pub(crate) key: Option<&'a str>,
    pub(crate) left: Option<Side<'a>>,
    pub(crate) right: Option<Side<'a>>,
    /// In place of a line: this many members that did not change.
    pub(crate) unchanged: usize,
}

/// A change: the path to it, and what was there before and after.
#[derive(Clone, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) mark: Mark,
    pub(crate) path: String,
    pub(crate) before: Option<&'a Node>,
    pub(crate) after: Option<&'a Node>,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison<'a> {
    pub(crate) rows: Vec<Row<'a>>,
    pub(crate) changes: Vec<Change<'a>>,
}

/// Compares two states; `None` is the state before the first event. If `fold`, what did not change is summed up.
pub(crate) fn compare<'a>(before: Option<&'a Node>, after: Option<&'a Node>, fold: bool) -> Comparison<'a> {
    let mut walk = Walk { found: Comparison::default(), fold, path: String::new() };
    let place = Place { depth: 0, key: None, commas: (false, false) };
    match (before, after) {
        (Some(before), Some(after)) => walk.both(before, after, place),
        (None, Some(after)) => walk.one(Mark::Added, after, place),
        (Some(before), None) => walk.one(Mark::Removed, before, place),
        (None, None) => {}
    }
    walk.found
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    depth: usize,
    key: Option<&'a str>,
    /// Whether a comma follows, before and after.
    commas: (bool, bool),
}

struct Walk<'a> {
    found: Comparison<'a>,
    fold: bool,
    path: String,
}

/// A member of either state: its key, its value before and after, and whether it is the last of its side.
struct Member<'a> {
    key: Option<&'a str>,
    /// The last segment of its path.
    name: String,
    before: Option<&'a Node>,
    after: Option<&'a Node>,
}

impl<'a> Walk<'a> {
    fn push(&mut self, mark: Mark, place: Place<'a>, left: Option<&'a str>, right: Option<&'a str>, commas: (bool, bool)) {
        let Place { depth, key, .. } = place;
        let side = |text: Option<&'a str>, comma| text.map(|text| Side { text, comma });
        let row = Row { mark, depth, key, left: side(left, commas.0), right: side(right, commas.1), unchanged: 0 };
        self.found.rows.push(row);
    }

    fn note(&mut self, mark: Mark, before: Option<&'a Node>, after: Option<&'a Node>) {
        self.found.changes.push(Change { mark, path: self.path.clone(), before, after });
    }

    fn both(&mut self, before: &'a Node, after: &'a Node, place: Place<'a>) {
        match (before, after) {
            (Node::Leaf(one), Node::Leaf(other)) => {
                let mark = if one == other { Mark::Same } else { Mark::Changed };
                if mark == Mark::Changed {
                    self.note(mark, Some(before), Some(after));
                }
                self.push(mark, place, Some(one), Some(other), place.commas);
            }
            (Node::Object(one), Node::Object(other)) if !one.is_empty() && !other.is_empty() => {
                self.members(object_members(one, other), ("{", "}"), place);
            }
            (Node::Array(one), Node::Array(other)) if !one.is_empty() && !other.is_empty() => {
                self.members(array_members(one, other), ("[", "]"), place);
            }
            _ if before == after => self.push(Mark::Same, place, Some(empty(before)), Some(empty(after)), place.commas),
            _ => {
                self.note(Mark::Changed, Some(before), Some(after));
                self.subtree(Mark::Removed, before, place);
                self.subtree(Mark::Added, after, place);
            }
        }
    }

    fn members(&mut self, members: Vec<Member<'a>>, (open, close): (&'a str, &'a str), place: Place<'a>) {
        self.push(Mark::Same, place, Some(open), Some(open), (false, false));
        let last_before = members.iter().rposition(|member| member.before.is_some());
        let last_after = members.iter().rposition(|member| member.after.is_some());
        let mut rest = members.as_slice();
        let mut number = 0;
        while let Some((member, more)) = rest.split_first() {
            let calm = rest.iter().take_while(|member| self.fold && member.before == member.after).count();
            if calm > 2 {
                let (mark, depth) = (Mark::Same, place.depth + 1);
                self.found.rows.push(Row { mark, depth, key: None, left: None, right: None, unchanged: calm });
                rest = rest.get(calm..).unwrap_or_default();
                number += calm;
                continue;
            }
            let commas = (last_before.is_some_and(|last| number < last), last_after.is_some_and(|last| number < last));
            let inner = Place { depth: place.depth + 1, key: member.key, commas };
            let length = self.path.len();
            self.path.push('/');
            self.path.push_str(&member.name.replace('~', "~0").replace('/', "~1"));
            match (member.before, member.after) {
                (Some(before), Some(after)) => self.both(before, after, inner),
                (Some(before), None) => self.one(Mark::Removed, before, inner),
                (None, Some(after)) => self.one(Mark::Added, after, inner),
                (None, None) => {}
            }
            self.path.truncate(length);
            rest = more;
            number += 1;
        }
        self.push(Mark::Same, Place { key: None, ..place }, Some(close), Some(close), place.commas);
    }

    /// A value that only one state has.
    fn one(&mut self, mark: Mark, node: &'a Node, place: Place<'a>) {
        match mark {
            Mark::Removed => self.note(mark, Some(node), None),
            _ => self.note(mark, None, Some(node)),
        }
        self.subtree(mark, node, place);
    }

    fn subtree(&mut self, mark: Mark, node: &'a Node, place: Place<'a>) {
        let line = |walk: &mut Walk<'a>, text: &'a str, place: Place<'a>, comma: (bool, bool)| match mark {
            Mark::Removed => walk.push(mark, place, Some(text), None, comma),
            _ => walk.push(mark, place, None, Some(text), comma),
        };
        let (open, close, members): (_, _, Vec<(Option<&'a str>, &'a Node)>) = match node {
            Node::Object(members) if !members.is_empty() => {
                ("{", "}", members.iter().map(|(key, value)| (Some(&**key), value)).collect())
            }
            Node::Array(items) if !items.is_empty() => ("[", "]", items.iter().map(|item| (None, item)).collect()),
            _ => return line(self, empty(node), place, place.commas),
        };
        line(self, open, place, (false, false));
        let count = members.len();
        for (number, (key, value)) in members.into_iter().enumerate() {
            let comma = number + 1 < count;
            self.subtree(mark, value, Place { depth: place.depth + 1, key, commas: (comma, comma) });
        }
        line(self, close, Place { key: None, ..place }, place.commas);
    }
}

/// The text of a leaf, or of a value without members.
fn empty(node: &Node) -> &str {
    match node {
        Node::Leaf(text) => text,
        Node::Array(_) => "[]",
        Node::Object(_) => "{}",
    }
}

/// The members of two objects: in the order of the later one, and those that went where they stood.
fn object_members<'a>(before: &'a [(Box<str>, Node)], after: &'a [(Box<str>, Node)]) -> Vec<Member<'a>> {
    let earlier: std::collections::HashMap<&str, &Node> = before.iter().map(|(key, value)| (&**key, value)).collect();
    let later: std::collections::HashSet<&str> = after.iter().map(|(key, _)| &**key).collect();
    let member = |key: &'a str, before, after| Member { key: Some(key), name: key.to_owned(), before, after };
    let mut members = Vec::with_capacity(after.len());
    let mut gone = before.iter().peekable();
    for (key, value) in after {
        // What stood before this member and went comes first.
        if earlier.contains_key(&**key) {
            while let Some((old, removed)) = gone.peek().filter(|(old, _)| old != key) {
                if !later.contains(&**old) {
                    members.push(member(old, Some(removed), None));
                }
                gone.next();
            }
            gone.next();
        }
        members.push(member(key, earlier.get(&**key).copied(), Some(value)));
    }
    // Keys that changed their order have used up `gone` early, so what is left is only what stood at the end.
    members.extend(gone.filter(|(old, _)| !later.contains(&**old)).map(|(old, removed)| member(old, Some(removed), None)));
    members
}

/// The items of two arrays: equal beginnings and ends belong together, the middles by their places.
fn array_members<'a>(before: &'a [Node], after: &'a [Node]) -> Vec<Member<'a>> {
    let shorter = before.len().min(after.len());
    let head = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let tail = before.iter().rev().zip(after.iter().rev()).take(shorter - head).take_while(|(one, other)| one == other).count();
    let member = |name: usize, before, after| Member { key: None, name: name.to_string(), before, after };
    let mut members = Vec::with_capacity(before.len().max(after.len()));
    for place in 0..before.len().max(after.len()) - tail {
        let in_middle = |items: &'a [Node]| items.get(place).filter(|_| place < items.len() - tail);
        members.push(member(place, in_middle(before), in_middle(after)));
    }
    for (number, item) in after.iter().enumerate().skip(after.len() - tail) {
        members.push(member(number, Some(item), Some(item)));
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(before: &str, after: &str, fold: bool) -> Vec<String> {
        let (before, after) = (Node::parse(before), Node::parse(after));
        let found = compare(Some(&before), Some(&after), fold);
        let side = |side: Option<Side<'_>>| {
            side.map_or("·".to_owned(), |side| format!("{}{}", side.text, if side.comma { "," } else { "" }))
        };
        let sign = |mark| match mark {
            Mark::Same => ' ',
            Mark::Added => '+',
            Mark::Removed => '-',
            Mark::Changed => '~',
        };
        let line = |row: &Row<'_>| match row.unchanged {
            0 => format!("{}{} {} {} | {}", sign(row.mark), row.depth, row.key.unwrap_or(""), side(row.left), side(row.right)),
            more => format!("… {more}"),
        };
        found
            .rows
            .iter()
            .map(line)
            .chain(found.changes.iter().map(|change| format!("{} {}", sign(change.mark), change.path)))
            .collect()
    }

    #[test]
    fn both_states_and_what_changed() {
        assert_eq!(
            lines(r#"{"a":1,"gone":[2],"b":{"c":"x"}}"#, r#"{"a":1,"b":{"c":"y","d/e":null}}"#, false),
            [
                " 0  { | {",
                " 1 a 1, | 1,",
                "-1 gone [ | ·",
                "-2  2 | ·",
                "-1  ], | ·",
                " 1 b { | {",
                "~2 c \"x\" | \"y\",",
                "+2 d/e · | null",
                " 1  } | }",
                " 0  } | }",
                "- /gone",
                "~ /b/c",
                "+ /b/d~1e",
            ]
        );
    }

    #[test]
    fn arrays_keep_what_moved() {
        assert_eq!(
            lines("[1,2,3]", "[0,1,2,3]", false),
            [" 0  [ | [", "+1  · | 0,", " 1  1, | 1,", " 1  2, | 2,", " 1  3 | 3", " 0  ] | ]", "+ /0"]
        );
        assert_eq!(lines("[1,2]", "[]", false), ["-0  [ | ·", "-1  1, | ·", "-1  2 | ·", "-0  ] | ·", "+0  · | []", "~ "]);
        assert_eq!(lines("[[],{}]", "[[],{}]", false), [" 0  [ | [", " 1  [], | [],", " 1  {} | {}", " 0  ] | ]"]);
    }

    #[test]
    fn what_did_not_change_is_folded() {
        let state = |n| format!(r#"{{"a":1,"b":2,"c":{{"x":[1,2,3]}},"d":{n},"e":5,"f":6}}"#);
        assert_eq!(
            lines(&state(1), &state(2), true),
            [" 0  { | {", "… 3", "~1 d 1, | 2,", " 1 e 5, | 5,", " 1 f 6 | 6", " 0  } | }", "~ /d"]
        );
    }
}
