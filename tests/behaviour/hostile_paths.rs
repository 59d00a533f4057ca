//! Paths that are not what they seem: nothing hangs, nothing is opened that was not named, nothing else is written.

use std::path::Path;

use foldlog::{ErrorKind, Store};

use crate::support::{Place, fast, names, noted, refused, says};

#[test]
fn names_with_a_meaning_for_sqlite_are_names_of_files() {
    for name in
        [":memory:", "file::memory:?cache=shared", "file:a?mode=memory", "a?nolock=1", "a#b", "file:///etc/passwd", "-journal"]
    {
        let place = Place::new();
        let path = place.join(&name.replace('/', "_"));
        fast().open(&path).unwrap().append("list", "a", 0, [noted(1)]).unwrap();
        assert_eq!(names(place.directory()), [path.file_name().unwrap().to_str().unwrap()], "{name}");
        assert_eq!(Store::open_read_only(&path).unwrap().version("list", "a").unwrap(), 1, "{name}");
    }
}

#[track_caller]
fn is_refused(path: &Path, part: &str) {
    for opened in [Store::open(path), Store::open_read_only(path)] {
        says(&refused(opened, ErrorKind::Io), &[part]);
    }
}

#[test]
fn a_name_that_is_too_long() {
    let place = Place::new();
    is_refused(&place.join(&"x".repeat(300)), "name too long");
    is_refused(&place.join(&"x/".repeat(3_000)), "name too long");
    assert_eq!(names(place.directory()), [""; 0]);
    // The file's name fits, those of its log and journal do not; and a path that only SQLite finds too long.
    let longest = "d/".repeat((505 - place.directory().as_os_str().len()) / 2);
    std::fs::create_dir_all(place.join(&longest)).unwrap();
    for (name, limit) in [("x".repeat(251), "at most 247 bytes"), (format!("{longest}xx"), "takes 504 at most")] {
        says(&refused(Store::open(place.join(&name)), ErrorKind::Io), &["cannot be opened", limit]);
    }
}

#[test]
fn a_missing_directory_and_a_missing_file_are_named() {
    let place = Place::new();
    says(&refused(Store::open(place.join("not/there.db")), ErrorKind::Io), &["not does not exist", "create it first"]);
    let error = refused(Store::open_read_only(place.file()), ErrorKind::Io);
    says(&error, &["store.db cannot be opened: No such file", "check the path"]);
    says(&refused(Store::open(place.directory()), ErrorKind::Io), &["is a directory, not a file", "name a file in it"]);
}

#[cfg(unix)]
mod on_unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;
    use crate::processes::{finish, start};
    use crate::support::read;
    use foldlog::Query;

    #[test]
    fn what_is_no_plain_file() {
        let place = Place::new();
        assert!(Command::new("mkfifo").arg(place.join("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(place.join("socket")).unwrap();
        symlink("/dev/zero", place.join("link")).unwrap();
        // Each of them would be waited for, or read to no end.
        for path in [place.join("pipe"), place.join("socket"), place.join("link"), "/dev/null".into(), "/dev/zero".into()] {
            is_refused(&path, "is not a plain file");
        }
        symlink(place.directory(), place.join("to_directory")).unwrap();
        is_refused(&place.join("to_directory"), "is a directory");
    }

    #[test]
    fn links_that_lead_nowhere() {
        let place = Place::new();
        symlink("loop_b", place.join("loop_a")).unwrap();
        symlink("loop_a", place.join("loop_b")).unwrap();
        is_refused(&place.join("loop_a"), "cannot be opened");
        is_refused(&place.join("loop_a/store.db"), "");
        symlink("not/there", place.join("dangling")).unwrap();
        is_refused(&place.join("dangling"), "");
        assert!(!place.join("not").exists());
    }

    /// Both names are one file, with one log beside it: two would be two truths.
    #[test]
    fn a_link_and_its_file_are_one_store() {
        let place = Place::new();
        std::fs::create_dir(place.join("elsewhere")).unwrap();
        symlink(place.file(), place.join("elsewhere/link.db")).unwrap();
        let (store, linked) = (place.open(), fast().open(place.join("elsewhere/link.db")).unwrap());
        store.append("list", "a", 0, [noted(1)]).unwrap();
        linked.append("list", "a", 1, [noted(2)]).unwrap();
        assert_eq!(read(&store, Query::new()), read(&linked, Query::new()));
        assert_eq!(read(&store, Query::new()).len(), 2);
        assert_eq!(names(&place.join("elsewhere")), ["link.db"], "its log lies beside the file");
    }

    /// As many bytes as asked for.
    fn long_path(place: &Place, bytes: usize) -> std::path::PathBuf {
        let mut directory = place.directory().canonicalize().unwrap();
        while directory.as_os_str().len() + 102 < bytes {
            directory.push("d".repeat(100));
        }
        std::fs::create_dir_all(&directory).unwrap();
        let name = bytes - directory.as_os_str().len() - 1;
        directory.join("x".repeat(name))
    }

    #[test]
    fn the_longest_path_and_the_longest_name() {
        let place = Place::new();
        let path = long_path(&place, 504);
        fast().open(&path).unwrap().append("list", "a", 0, [noted(1)]).unwrap();
        assert_eq!(Store::open_read_only(&path).unwrap().version("list", "a").unwrap(), 1);
        is_refused(&long_path(&place, 505), "has 505 bytes; SQLite takes 504 at most; use a shorter path");

        fast().open(place.join(&"n".repeat(247))).unwrap().append("list", "a", 0, [noted(1)]).unwrap();
        let error = refused(Store::open(place.join(&"n".repeat(251))), ErrorKind::Io);
        says(&error, &["its name has 251 bytes", "use a name of at most 247 bytes"]);
        is_refused(&place.join(&"x".repeat(300)), "File name too long");
        is_refused(&place.join(&"x".repeat(300)), "use a shorter name");
        is_refused(&place.join("file/store.db"), "");
    }

    #[test]
    fn what_is_a_file_and_no_directory() {
        let place = Place::new();
        std::fs::write(place.join("file"), b"").unwrap();
        is_refused(&place.join("file/store.db"), "Not a directory");
        symlink("loop", place.join("loop")).unwrap();
        is_refused(&place.join("loop"), "symbolic links");
    }

    /// The message of a failed opening by a user who may do nothing special.
    fn as_nobody(task: &str, path: &Path) -> String {
        use std::os::unix::process::CommandExt;
        finish(start(task, path, 0).uid(65_534).gid(65_534).spawn().unwrap())
    }

    fn is_root() -> bool {
        std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
    }

    #[test]
    fn a_missing_permission_is_named() {
        if !is_root() {
            eprintln!("SKIPPED: only root can become another user");
            return;
        }
        let place = Place::new();
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        set(place.directory(), 0o755);
        place.open().append("list", "a", 0, [noted(1)]).unwrap();
        for (task, mode, parts) in [
            ("refused", 0o600, ["store.db cannot be opened: Permission denied", "give this process's user access"]),
            ("refused to read", 0o600, ["store.db cannot be opened: Permission denied", "give this process's user access"]),
            ("refused", 0o644, ["store.db cannot be opened: Permission denied", "give this process's user access"]),
            ("refused", 0o666, ["no files can be created in", "Permission denied (os error 13)"]),
        ] {
            set(&place.file(), mode);
            let said = as_nobody(task, &place.file());
            assert!(parts.iter().all(|part| said.contains(part)), "{task} {mode:o}: {said}");
        }
        let said = as_nobody("refused", &place.join("new.db"));
        assert!(said.contains("Permission denied"), "{said}");
        set(place.directory(), 0o700);
        let said = as_nobody("refused", &place.file());
        assert!(said.contains("store.db cannot be opened: Permission denied"), "{said}");
        assert_eq!(names(place.directory()), ["store.db"]);
    }

    #[test]
    fn a_read_only_file_system_is_named() {
        let place = Place::new();
        place.open().append("list", "a", 0, [noted(1)]).unwrap();
        let mount = |options: &str| Command::new("mount").args(["--bind", "-o", options]).args([place.directory(); 2]).output();
        if !mount("rw").is_ok_and(|done| done.status.success()) || !mount("remount,ro").is_ok_and(|done| done.status.success()) {
            eprintln!("SKIPPED: no file system could be mounted read-only");
            return;
        }
        let (writing, reading) = (fast().open(place.file()), Store::open_read_only(place.file()).map(drop));
        assert!(Command::new("umount").arg("--lazy").arg(place.directory()).status().unwrap().success());
        let error = writing.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly), "{error:?}");
        says(&error, &["Read-only file system", "open_read_only"]);
        reading.unwrap();
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let place = Place::new();
        let store = place.open();
        store.append("list", "a", 0, [noted(1)]).unwrap();
        for name in ["store.db", "store.db-wal", "store.db-shm"] {
            assert_eq!(mode(&place.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_there_keeps_its_mode() {
        let place = Place::new();
        std::fs::write(place.file(), b"").unwrap();
        std::fs::set_permissions(place.file(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let store = place.open();
        store.append("list", "a", 0, [noted(1)]).unwrap();
        for name in ["store.db", "store.db-wal", "store.db-shm"] {
            assert_eq!(mode(&place.join(name)), 0o640, "{name}");
        }
    }
}
