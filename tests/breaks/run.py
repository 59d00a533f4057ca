#!/usr/bin/env python3
"""Breaks the library on purpose, one break at a time, and looks whether the test that is named for it turns red.

    tests/breaks/run.py                  all breaks of breaks.toml
    tests/breaks/run.py fence snapshot   those whose name holds one of these words
    tests/breaks/run.py --check          only whether each can be applied and has its test; takes no time

Works on a copy of the work tree, uncommitted changes included, in target/breaks, with a target directory of its own.
Every named test must be green without a break, every text to be replaced must occur exactly once, and every break must
compile: anything else is an error, never a skip. Prints a table; exit code 1 if a test stayed green or on an error.
"""

import datetime
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "target" / "breaks" / "tree" / "foldlog"
TARGET = ROOT / "target" / "breaks" / "target"
# A break may make a test wait for what never comes. That is red too, and is said as such.
LONGEST = 300


class Wrong(Exception):
    """A break that cannot be tried as it is written."""


def write(path, content):
    """Only what differs, and with a new time: cargo goes by the files' times."""
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def copy_tree():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    names = {name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()}
    for name in names:
        write(COPY / name, (ROOT / name).read_bytes())
    for left_over in [path for path in COPY.rglob("*") if path.is_file()]:
        if str(left_over.relative_to(COPY)) not in names and left_over.parts[len(COPY.parts)] in ("src", "tests", "crates"):
            left_over.unlink()


def cargo(arguments, limit=None):
    """The exit code, None if the time was over; and all that was said."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET), "CARGO_TERM_COLOR": "never", "RUST_BACKTRACE": "0"}
    # The copy has no data beside it. A test that passes for want of data or of a server would be green whatever is broken.
    environment = {"FOLDLOG_DATA": str(ROOT.parent / "shared" / "data")} | environment | {"CI": "1"}
    process = subprocess.Popen(
        ["cargo", *arguments],
        cwd=COPY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=limit)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        # The whole group: tests start processes of their own.
        os.killpg(process.pid, 9)
        said, _ = process.communicate()
        return None, said


def run_test(test):
    """True if it is green, False if it is red. `tenants::a_tag` of tests/behaviour is `behaviour::tenants::a_tag`."""
    binary, name = test.split("::", 1)
    command = ["test", "--test", binary, "--features", "tracing" if binary == "tracing" else ""]
    code, said = cargo([*command, "--no-run"])
    if code != 0:
        raise Wrong(f"does not compile:\n{said[-3000:]}")
    code, said = cargo([*command, "--", "--exact", name], LONGEST)
    if code == 0 and re.search(r"^test result: ok\. 1 passed", said, re.MULTILINE):
        return True
    if code is None or code != 0 and "running 1 test" in said:
        return False
    raise Wrong(f"there is no test {test}, or it is ignored")


def broken(item):
    """The files that the break changes, with their new contents."""
    changed = {}
    for edit in item["edit"]:
        path = COPY / edit["file"]
        text = changed.get(path) or path.read_text()
        if text.count(edit["find"]) != 1:
            raise Wrong(f"occurs {text.count(edit['find'])} times in {edit['file']}, not once:\n{edit['find']}")
        changed[path] = text.replace(edit["find"], edit["replace"])
    return changed


def confirm_there_is(test):
    """A test function of that name in that test's files; whether it runs is seen when it does."""
    binary, *_, function = test.split("::")
    tests = COPY / "tests"
    files = [tests / f"{binary}.rs", *(tests / binary).rglob("*.rs"), *COPY.glob(f"crates/*/tests/{binary}/*.rs")]
    if not any(f"fn {function}(" in file.read_text() for file in files if file.is_file()):
        raise Wrong(f"there is no test {test}")


def try_break(item):
    changed = broken(item)
    sound = {path: path.read_bytes() for path in changed}
    try:
        for path, text in changed.items():
            write(path, text.encode())
        return "**NOT**" if run_test(item["test"]) else "red"
    finally:
        for path, content in sound.items():
            write(path, content)


def main():
    items = tomllib.loads((ROOT / "tests" / "breaks" / "breaks.toml").read_text())["break"]
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    items = [item for item in items if not words or any(word in item["name"] for word in words)]
    copy_tree()
    failed = 0
    for item in items:
        try:
            broken(item)
            confirm_there_is(item["test"])
        except Wrong as wrong:
            print(f"{item['name']}: {wrong}", file=sys.stderr)
            failed += 1
    if "--check" in sys.argv:
        sys.exit(f"{failed} of {len(items)} cannot be applied" if failed else 0)
    for test in sorted({item["test"] for item in items}):
        if not run_test(test):
            print(f"{test} is red without any break", file=sys.stderr)
            failed += 1
    if failed or not items:
        sys.exit("nothing was tried")
    print(f"Printed by `tests/breaks/run.py` on {datetime.date.today()}:\n")
    print("| break | test | turned red | seconds |\n| --- | --- | --- | --- |", flush=True)
    for item in items:
        began = time.monotonic()
        try:
            result = try_break(item)
        except Wrong as wrong:
            result = "**ERROR**"
            print(f"{item['name']}: {wrong}", file=sys.stderr)
        failed += result != "red"
        print(f"| {item['name']} | `{item['test']}` | {result} | {time.monotonic() - began:.0f} |", flush=True)
    print(f"\n{len(items) - failed} of {len(items)} breaks turned their test red.")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
