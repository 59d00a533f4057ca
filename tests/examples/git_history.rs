//! `git_history` on repositories that hold what can go wrong.

use std::path::Path;

use foldlog::{Expected, Metadata, NewEvent, Query, Store};
use serde_json::{Value, json};

use crate::file::{File, FileEvent, aggregate_id};
use crate::programs::{Ran, run};
use crate::repository::{NOT_UTF8, Repository, SUBMODULE, Script, WITH_QUOTES};

fn import(repository: &Path, db: &Path) -> Ran {
    run("git_history", [repository.as_os_str(), "--json".as_ref(), "--db".as_ref(), db.as_os_str()])
}

fn figures(ran: &Ran) -> [Value; 5] {
    let json = ran.json();
    ["commits", "commits_without_files", "files", "files_in_head", "events"].map(|name| json[name].clone())
}

/// Event type and data of each event of a file.
fn history(db: &Path, path: &str) -> Vec<(String, Value)> {
    let files = Store::open_read_only(db).unwrap().aggregates::<File>();
    let events = files.history(path).map(Result::unwrap);
    events.map(|event| (event.event_type.to_string(), event.data.to_value().unwrap())).collect()
}

#[test]
fn a_history_with_everything_in_it_is_as_git_has_it() {
    let repository = Repository::with_history();
    let db = repository.beside("kept.db");
    let ran = import(&repository.path(), &db).ended_with(0);
    assert_eq!(figures(&ran), [8, 1, 11, 9, 21].map(Value::from), "{ran}");
    let json = ran.json();
    assert_eq!(json["matches_git"], true);
    assert_eq!(json["head"], repository.git(["rev-parse", "HEAD"]));
    assert_eq!(json["file_bytes"].as_u64().unwrap(), Store::open_read_only(&db).unwrap().file_statistics().unwrap().size_bytes);
    for name in ["import_seconds", "check_seconds", "bytes_per_event"] {
        assert!(json[name].as_f64().unwrap() > 0.0, "{name}: {ran}");
    }
    assert_eq!(ran.stderr, "", "no progress bar where there is no terminal");

    let blob = |revision: &str| repository.git(["rev-parse", revision]);
    let types = |path: &str| history(&db, path).into_iter().map(|event| event.0).collect::<Vec<_>>();
    assert_eq!(
        history(&db, "run.sh"),
        [
            ("FileAdded", json!({"mode": "100644", "blob": blob("HEAD~7:run.sh")})),
            (
                "FileModified",
                json!({"mode": "100755", "blob": blob("HEAD~6:run.sh"), "prevBlob": blob("HEAD~7:run.sh"), "prevMode": "100644"})
            ),
            (
                "FileTypeChanged",
                json!({"mode": "120000", "blob": blob("HEAD~5:run.sh"), "prevBlob": blob("HEAD~6:run.sh"), "prevMode": "100755"})
            ),
            (
                "FileTypeChanged",
                json!({"mode": "100644", "blob": blob("HEAD:run.sh"), "prevBlob": blob("HEAD~5:run.sh"), "prevMode": "120000"})
            ),
        ]
        .map(|(event_type, data)| (event_type.to_owned(), data))
    );
    assert_eq!(types("dir/with space.txt"), ["FileAdded", "FileDeleted", "FileAdded"]);
    assert_eq!(types("a.txt"), ["FileAdded", "FileModified", "FileModified", "FileDeleted"]);
    assert_eq!(types("side.txt"), ["FileAdded"], "the merge, not the side branch's two commits");
    assert_eq!(history(&db, "sub")[1].1["prevBlob"], SUBMODULE[0]);
    assert_eq!(types("new\nline.txt"), ["FileAdded"]);
    assert_eq!(types(WITH_QUOTES), ["FileAdded"]);
}

#[test]
fn a_path_that_is_not_text_has_the_name_that_git_shows() {
    let repository = Repository::with_history();
    let db = repository.beside("kept.db");
    import(&repository.path(), &db).ended_with(0);
    assert!(repository.git(["ls-tree", "--name-only", "HEAD"]).lines().any(|name| name == NOT_UTF8));
    assert_eq!(aggregate_id(b"caf\xe9 \\.txt"), NOT_UTF8);
    assert_eq!(history(&db, NOT_UTF8).len(), 1);
    // Every byte that there is, against git's own way.
    let all: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let octal: String = all.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let bytes = Repository::new();
    bytes.import(Script::default().commit("main", 1, 0, &[]).put("100644", &format!("\"{octal}\""), ""));
    assert_eq!(bytes.git(["ls-tree", "--name-only", "HEAD"]), aggregate_id(&all));
    import(&bytes.path(), &bytes.beside("bytes.db")).ended_with(0);
}

#[test]
fn a_commit_is_one_append_and_carries_its_id_and_time() {
    let repository = Repository::with_history();
    let db = repository.beside("kept.db");
    import(&repository.path(), &db).ended_with(0);
    let store = Store::open_read_only(&db).unwrap();
    let events: Vec<_> = store.read(Query::new()).map(Result::unwrap).collect();
    let commits = repository.git(["log", "--first-parent", "--reverse", "--format=%H %ct"]);
    let mut commits: Vec<(String, i64)> =
        commits.lines().filter_map(|line| line.split_once(' ')).map(|(id, time)| (id.into(), time.parse().unwrap())).collect();
    // The sixth is the one without changes.
    commits.remove(5);
    let mut seen: Vec<(String, i64)> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let commit = event.metadata().unwrap().extra["commit"].as_str().unwrap().to_owned();
        let begins = at == 0 || events[at - 1].commit_id != event.commit_id;
        if begins {
            seen.push((commit.clone(), event.created_at.timestamp()));
        }
        assert_eq!(seen.last().unwrap(), &(commit, event.created_at.timestamp()));
    }
    assert_eq!(seen, commits);
}

#[test]
fn run_again_it_takes_in_what_is_new() {
    let repository = Repository::with_history();
    let db = repository.beside("kept.db");
    import(&repository.path(), &db).ended_with(0);
    let before = repository.git(["rev-parse", "HEAD"]);
    let ran = import(&repository.path(), &db).ended_with(0);
    assert_eq!(figures(&ran), [0, 0, 11, 9, 0].map(Value::from), "{ran}");

    let more = Script::default().commit("main", 1, 1_600_001_000, &["refs/heads/main^0"]);
    repository.import(more.put("100644", "run.sh", "anew").put("100644", "a.txt/inner", "anew").delete("moved.txt"));
    let ran = import(&repository.path(), &db).ended_with(0);
    assert_eq!(figures(&ran), [1, 0, 11, 8, 3].map(Value::from), "{ran}");
    assert_eq!(ran.json()["resumed_after"], before);

    let other = Repository::new();
    other.import(Script::default().commit("main", 1, 0, &[]).put("100644", "a", "b"));
    let ran = import(&other.path(), &db).ended_with(1);
    assert!(ran.stderr.contains("not part of this one") && ran.stdout.is_empty(), "{ran}");
}

/// Appends what never happened, as the last commit's doing.
fn forge(repository: &Repository, db: &Path, path: &str, event: &FileEvent) {
    let store = Store::open(db).unwrap();
    let metadata = Metadata::new().extra("commit", repository.git(["rev-parse", "HEAD"]));
    let event = NewEvent::of(event).unwrap().metadata(&metadata).unwrap();
    store.append("file", path, Expected::Any, [event]).unwrap();
}

#[test]
fn a_state_that_is_not_gits_is_named_and_makes_the_exit_code_1() {
    let repository = Repository::with_history();
    let db = repository.beside("kept.db");
    import(&repository.path(), &db).ended_with(0);
    let blob = "3333333333333333333333333333333333333333".to_owned();
    let is = repository.git(["rev-parse", "HEAD:side.txt"]);
    forge(&repository, &db, "side.txt", &FileEvent::FileAdded { mode: "100644".into(), blob: blob.clone() });
    let ran = import(&repository.path(), &db).ended_with(1);
    assert_eq!((&ran.json()["matches_git"], &ran.json()["differences"]), (&json!(false), &json!(1)), "{ran}");
    assert!(ran.stderr.contains(&format!("\"side.txt\": git has 100644 {is}, the replay gives 100644 {blob}")), "{ran}");

    // The mode alone; a file too many; a file too few.
    forge(&repository, &db, "side.txt", &FileEvent::FileAdded { mode: "100755".into(), blob: is });
    forge(&repository, &db, "invented.txt", &FileEvent::FileAdded { mode: "100644".into(), blob: blob.clone() });
    let gone = FileEvent::FileDeleted { prev_mode: "100644".into(), prev_blob: blob };
    forge(&repository, &db, "moved.txt", &gone);
    let ran = import(&repository.path(), &db).ended_with(1);
    assert_eq!(ran.json()["differences"], 3, "{ran}");
    for name in ["\"side.txt\": git has 100644", "\"invented.txt\": git has no file", "\"moved.txt\": git has 100644"] {
        assert!(ran.stderr.contains(name), "{name}: {ran}");
    }
}

#[test]
fn files_without_any_events_are_missed() {
    let repository = Repository::new();
    let root = Script::default().commit("main", 1, 0, &[]);
    repository.import(root.put("100644", "a", "b"));
    // A store that says it holds this commit, and does not hold its file.
    let db = repository.beside("kept.db");
    forge(&repository, &db, "b", &FileEvent::FileDeleted { prev_mode: "100644".into(), prev_blob: "0".into() });
    let ran = import(&repository.path(), &db).ended_with(1);
    assert!(ran.stderr.contains("\"a\": git has 100644") && ran.stderr.contains("there are no events"), "{ran}");
}

#[test]
fn a_change_that_does_not_start_from_the_folded_state_is_refused() {
    let repository = Repository::with_history();
    let db = repository.beside("kept.db");
    import(&repository.path(), &db).ended_with(0);
    let blob = "3333333333333333333333333333333333333333".to_owned();
    forge(&repository, &db, "side.txt", &FileEvent::FileAdded { mode: "100644".into(), blob: blob.clone() });
    let next = Script::default().commit("main", 1, 1_600_001_000, &["refs/heads/main^0"]);
    repository.import(next.put("100644", "side.txt", "third"));
    let ran = import(&repository.path(), &db).ended_with(1);
    assert!(ran.stderr.contains("side.txt") && ran.stderr.contains(&blob) && ran.stdout.is_empty(), "{ran}");
}

#[test]
fn a_users_settings_change_nothing() {
    let repository = Repository::with_history();
    repository.git(["config", "diff.ignoreSubmodules", "all"]);
    repository.git(["config", "log.showRoot", "false"]);
    repository.git(["config", "diff.renames", "copies"]);
    repository.git(["config", "diff.relative", "true"]);
    repository.git(["config", "log.diffMerges", "off"]);
    // A signed commit, of which git is asked to show the signature.
    repository.git(["config", "log.showSignature", "true"]);
    let unsigned = repository.git(["cat-file", "commit", "HEAD"]);
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n";
    let signed = repository.beside("signed");
    std::fs::write(&signed, unsigned.replacen("\n\n", &format!("\n{signature}\n"), 1)).unwrap();
    let signed = repository.git(["hash-object", "-t", "commit", "-w", signed.to_str().unwrap()]);
    repository.git(["update-ref", "HEAD", &signed]);
    // A directory of the repository stands for all of it.
    repository.git(["reset", "--quiet", "--hard"]);
    let ran = import(&repository.path().join("a.txt"), &repository.beside("kept.db")).ended_with(0);
    assert_eq!(figures(&ran), [8, 1, 11, 9, 21].map(Value::from), "{ran}");
}

#[test]
fn clones_of_all_kinds() {
    let repository = Repository::with_history();
    let url = format!("file://{}", repository.path().display());
    let (bare, shallow) = (repository.beside("bare"), repository.beside("shallow"));
    repository.git(["clone", "--quiet", "--bare", &url, bare.to_str().unwrap()]);
    assert_eq!(figures(&import(&bare, &repository.beside("bare.db")).ended_with(0)), [8, 1, 11, 9, 21].map(Value::from));

    // Two commits: the older one counts as a root that adds all of its 9 files; the newer one moves one of them.
    repository.git(["clone", "--quiet", "--depth=2", &url, shallow.to_str().unwrap()]);
    let ran = import(&shallow, &repository.beside("shallow.db")).ended_with(0);
    assert_eq!(figures(&ran), [2, 0, 10, 9, 11].map(Value::from), "{ran}");
    assert_eq!(ran.json()["is_shallow"], true);
}

#[test]
fn no_history_is_said_and_leaves_nothing_behind() {
    let repository = Repository::new();
    let db = repository.beside("kept.db");
    let ran = import(&repository.path(), &db).ended_with(3);
    assert!(ran.stderr.contains("no commits yet") && ran.stdout.is_empty() && !db.exists(), "{ran}");

    let ran = import(&repository.beside("nowhere"), &db).ended_with(3);
    assert!(ran.stderr.contains("nowhere") && ran.stdout.is_empty() && !db.exists(), "{ran}");

    let elsewhere = tempfile::tempdir().unwrap();
    let ran = import(elsewhere.path(), &db).ended_with(3);
    assert!(ran.stderr.contains("not a git repository") && ran.stdout.is_empty() && !db.exists(), "{ran}");

    // Commits, but never a file: there is nothing that could differ.
    repository.git(["commit", "--quiet", "--allow-empty", "--message=x"]);
    let ran = import(&repository.path(), &db).ended_with(0);
    assert_eq!(figures(&ran), [1, 1, 0, 0, 0].map(Value::from), "{ran}");
    assert_eq!((&ran.json()["matches_git"], &ran.json()["bytes_per_event"]), (&json!(true), &Value::Null), "{ran}");
}

#[test]
fn a_damaged_repository_is_no_short_history() {
    let repository = Repository::with_history();
    let tree = repository.git(["rev-parse", "HEAD~3^{tree}"]);
    std::fs::remove_file(repository.path().join(".git/objects").join(&tree[..2]).join(&tree[2..])).unwrap();
    let ran = import(&repository.path(), &repository.beside("kept.db")).ended_with(1);
    assert!(ran.stderr.contains("git log failed") && ran.stdout.is_empty(), "{ran}");
}

#[test]
fn arguments_and_text() {
    let repository = Repository::with_history();
    assert!(run("git_history", ["--no-such-flag"]).ended_with(2).stdout.is_empty());
    let ran = run("git_history", [repository.path()]).ended_with(0);
    for words in ["commits             8", "events             21", "Durability::Fast", "All files are as git has them"] {
        assert!(ran.stdout.contains(words), "{words}: {ran}");
    }
    let foreign = repository.beside("foreign.db");
    std::fs::write(&foreign, "not a database, but somebody's only copy of something").unwrap();
    let ran = import(&repository.path(), &foreign).ended_with(1);
    assert!(ran.stdout.is_empty() && ran.stderr.starts_with("git_history: "), "{ran}");
}
