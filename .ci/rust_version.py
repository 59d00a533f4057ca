#!/usr/bin/env python3
"""Looks whether a published crate needs a dependency that asks for a newer Rust than the workspace names."""

import json
import subprocess
import sys

metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--all-features", "--locked"]))
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}


def version(text):
    return tuple(int(part) for part in (text.split(".") + ["0"])[:3][:2])


def needed(of, seen):
    """All packages that a build of this one takes in, on any platform."""
    if of in seen:
        return seen
    seen.add(of)
    for dependency in nodes[of]["deps"]:
        # loom is a test tool of other crates; no build has its cfg.
        if any(kind["kind"] != "dev" and "loom" not in (kind["target"] or "") for kind in dependency["dep_kinds"]):
            needed(dependency["pkg"], seen)
    return seen


newer = set()
for member in map(packages.get, metadata["workspace_members"]):
    if member["publish"] == []:
        continue
    for package in map(packages.get, needed(member["id"], set())):
        if package["rust_version"] and version(package["rust_version"]) > version(member["rust_version"]):
            newer.add(f"{package['name']} {package['version']} asks for Rust {package['rust_version']}: {member['name']} names "
                      f"{member['rust_version']}")
sys.exit("\n".join(sorted(newer)) or 0)
