#!/usr/bin/env python3
"""Times of the command as whole processes, against their bounds; beside each the processor's time, which a busy machine changes
less. Build first: cargo build --release -p foldlog-cli

usage: figures.py [EVENTS]        EVENTS: of the large file, 1000000 by default; --check fails above a bound

The first part needs the data set editing-automerge-paper in FOLDLOG_DATA (or beside the project) and is left out without it.
"""
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COMMAND = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "foldlog"
DATA = Path(os.environ.get("FOLDLOG_DATA", ROOT / ".." / "shared" / "data")) / "editing-automerge-paper" / "events.ndjson.gz"
failed = False


def run(*arguments):
    """Milliseconds until the process ended, those of the processor, and what it printed."""
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    took, after = (time.perf_counter() - began) * 1000, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{arguments}: {done.stderr.decode()}")
    return took, (after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime) * 1000, done.stdout


def show(what, value, bound, unit, processor=None):
    global failed
    failed |= value > bound
    cpu = "" if processor is None else f"processor {processor:8.1f} ms"
    print(f"{what:58} {value:10.1f} {unit:3} {'(bound ' + str(bound) + ')':>16} {cpu} {'' if value <= bound else 'TOO MUCH'}")


def median(what, bound, *arguments, times=9):
    runs = [run(*arguments) for _ in range(times)]
    show(what, statistics.median(took for took, _, _ in runs), bound, "ms", statistics.median(cpu for _, cpu, _ in runs))


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    events = int(arguments[0]) if arguments else 1_000_000
    stripped = tempfile.NamedTemporaryFile()
    subprocess.run(["strip", "-o", stripped.name, COMMAND], check=True)
    show("the binary, stripped", os.path.getsize(stripped.name) / 1e6, 12, "MB")
    median("start: --version", 10, "--version", times=21)
    with tempfile.TemporaryDirectory() as folder:
        if DATA.is_file():
            paper = os.path.join(folder, "paper.db")
            print(f"{'import of automerge-paper, 259,778 events':58} {run('import', paper, DATA)[0]:10.1f} ms")
            took, _, _ = run("snapshot", "create", paper, "document/automerge-paper", "--every", "10000", "--merge-patch")
            print(f"{'a snapshot at every 10,000 versions of it':58} {took:10.1f} ms")
            worst, worst_cpu = 0, 0
            for version in [1, 9_999, 10_000, 19_999, 77_777, 129_999, 200_000, 209_999, 250_000, 259_777, 259_778]:
                runs = [run("replay", paper, "document/automerge-paper", "--version", str(version)) for _ in range(5)]
                worst = max(worst, statistics.median(took for took, _, _ in runs))
                worst_cpu = max(worst_cpu, statistics.median(cpu for _, cpu, _ in runs))
            show("replay of any version of it, the slowest of 11", worst, 50, "ms", worst_cpu)
        large = os.path.join(folder, "large.db")
        with subprocess.Popen([COMMAND, "import", large], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as feed:
            began = time.perf_counter()
            for n in range(events):
                line = {"aggregate_type": ("order", "payment", "cart", "user")[n % 4], "aggregate_id": f"a-{n * 7919 % (events // 10)}",
                        "event_type": f"Event{n % 11}", "data": {"n": n, "cents": n % 997, "text": "x" * 100},
                        "metadata": {"userId": f"u-{n % 100}"}, "occurred_at": f"2026-01-{n * 28 // events + 1:02}T00:00:00.000Z"}
                feed.stdin.write(json.dumps(line).encode() + b"\n")
            feed.stdin.close()
            feed.wait()
        print(f"{f'import of {events:,} events':58} {(time.perf_counter() - began) * 1000:10.1f} ms")
        name = run("ls", large, "-n", "1")[2].decode().split()[0]
        median("stats", 100, "stats", large)
        median("ls", 100, "ls", large)
        median("ls --by recent", 100, "ls", large, "--by", "recent")
        median("history", 100, "history", large, name)
        median("events, the newest 50", 100, "events", large)
        median("replay", 100, "replay", large, name)
    if failed and "--check" in sys.argv:
        sys.exit(1)


main()
