//! Small git repositories, made by git itself.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Object ids that submodules point to: never looked up.
pub const SUBMODULE: [&str; 2] = ["1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"];

/// Keeps the settings of whoever runs the tests out of git.
pub fn isolated(command: &mut Command) -> &mut Command {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CEILING_DIRECTORIES"] {
        command.env_remove(name);
    }
    let nowhere = if cfg!(windows) { "NUL" } else { "/dev/null" };
    command.env("GIT_CONFIG_GLOBAL", nowhere).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C")
}

pub struct Repository {
    directory: TempDir,
}

impl Repository {
    /// A repository without commits.
    pub fn new() -> Repository {
        let repository = Repository { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(repository.path()).unwrap();
        repository.git(["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// A repository with [`a_history`].
    pub fn with_history() -> Repository {
        let repository = Repository::new();
        repository.import(a_history());
        repository
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    /// A place beside the repository.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    #[track_caller]
    pub fn git<const N: usize>(&self, arguments: [&str; N]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-C"]).arg(self.path()).args(arguments);
        let output = isolated(&mut command).output().expect("these tests need git");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    #[track_caller]
    pub fn import(&self, script: Script) {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path()).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
        let mut child = isolated(&mut command).spawn().expect("these tests need git");
        child.stdin.take().unwrap().write_all(script.0.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "git fast-import refused the script");
    }
}

/// What `git fast-import` reads. Paths are given as git quotes them, so that they can hold any byte.
#[derive(Default)]
pub struct Script(String);

impl Script {
    /// Begins a commit, numbered and timed by `mark`, on top of `parents`; the first parent is the line of history.
    pub fn commit(mut self, branch: &str, mark: u64, time: i64, parents: &[&str]) -> Script {
        self.0 += &format!("commit refs/heads/{branch}\nmark :{mark}\ncommitter T <t@example.org> {time} +0000\ndata 1\nx\n");
        for (index, parent) in parents.iter().enumerate() {
            self.0 += &format!("{} {parent}\n", if index == 0 { "from" } else { "merge" });
        }
        self
    }

    pub fn put(mut self, mode: &str, path: &str, content: &str) -> Script {
        self.0 += &format!("M {mode} inline {path}\ndata {}\n{content}\n", content.len());
        self
    }

    pub fn submodule(mut self, path: &str, commit: &str) -> Script {
        self.0 += &format!("M 160000 {commit} {path}\n");
        self
    }

    pub fn delete(mut self, path: &str) -> Script {
        self.0 += &format!("D {path}\n");
        self
    }
}

pub const NOT_UTF8: &str = r#""caf\351 \\.txt""#;
pub const WITH_QUOTES: &str = r#""\"quoted\".txt""#;

/// A merge, a submodule, odd names, changes of type: what a first-parent history can hold.
///
/// 8 commits on the first-parent line, one of them empty; 21 changes of 11 files, 9 of which are there at the end.
pub fn a_history() -> Script {
    Script::default()
        .commit("main", 1, 1_600_000_000, &[])
        .put("100644", "a.txt", "one")
        .put("100644", r#""dir/with space.txt""#, "kept")
        .put("100644", "run.sh", "echo")
        .put("100644", r#""new\nline.txt""#, "n")
        .put("100644", NOT_UTF8, "latin 1")
        .put("100644", "\u{fc}.txt", "the same all along")
        .put("100644", WITH_QUOTES, "q")
        .commit("main", 2, 1_600_000_100, &[":1"])
        .put("100644", "a.txt", "two")
        .put("100755", "run.sh", "echo")
        .commit("main", 3, 1_600_000_200, &[":2"])
        .put("120000", "run.sh", "a.txt")
        .delete(r#""dir/with space.txt""#)
        .submodule("sub", SUBMODULE[0])
        // Two commits beside the line: they come in with the merge, as one.
        .commit("side", 4, 1_600_000_300, &[":2"])
        .put("100644", "side.txt", "first")
        .commit("side", 5, 1_600_000_400, &[":4"])
        .put("100644", "side.txt", "second")
        .put("100644", "a.txt", "three")
        .commit("main", 6, 1_600_000_500, &[":3", ":5"])
        .put("100644", "side.txt", "second")
        .put("100644", "a.txt", "two and three")
        .commit("main", 7, 1_600_000_600, &[":6"])
        .put("100644", r#""dir/with space.txt""#, "back again")
        .submodule("sub", SUBMODULE[1])
        .commit("main", 8, 1_600_000_700, &[":7"])
        // A file makes way for a directory; a link becomes a file again.
        .commit("main", 9, 1_600_000_800, &[":8"])
        .delete("a.txt")
        .put("100644", "a.txt/inner", "deep")
        .put("100644", "run.sh", "echo again")
        // A rename, which is a deletion and an addition here; and a clock that was put back.
        .commit("main", 10, 1_500_000_000, &[":9"])
        .delete("\u{fc}.txt")
        .put("100644", "moved.txt", "the same all along")
}
