//! The guide to an investigation, command by command, in an empty folder: what it shows is what the command prints.

use std::path::Path;
use std::process::Command;

use crate::support::{COMMAND, Place};

/// Runs a line of the guide in a shell; returns what it printed, if it succeeded.
fn shell(place: &Place, line: &str) -> String {
    let folder = Path::new(COMMAND).parent().unwrap().to_str().unwrap();
    let paths = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    let bash = bash.args(["-euo", "pipefail", "-c", line]).current_dir(place.path("")).env("PATH", paths).env("NO_COLOR", "1");
    let ran = bash.output().unwrap();
    assert!(ran.status.success(), "{line}\n{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn every_command_of_the_guide_does_what_the_guide_says() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/investigation.md")).unwrap();
    let place = Place::new();
    let (mut commands, mut compared) = (0, 0);
    for block in page.split("```").skip(1).step_by(2) {
        let (kind, text) = block.split_once('\n').unwrap();
        if kind == "sh" {
            // A browser waits for nobody, and the command is there already.
            let lines = text.replace("\\\n", " ");
            for line in lines.lines().filter(|line| !line.starts_with("foldlog inspect") && !line.starts_with("cargo")) {
                shell(&place, line);
                commands += 1;
            }
            continue;
        }
        assert_eq!(kind, "console");
        for command in format!("\n{text}").split("\n$ ").skip(1) {
            let (line, shown) = command.split_once('\n').unwrap();
            assert_eq!(shell(&place, line).trim_end(), shown.trim_end(), "{line}");
            compared += 1;
        }
    }
    assert!(commands >= 15 && compared >= 5, "{commands} {compared}");
}
