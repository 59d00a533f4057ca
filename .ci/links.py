#!/usr/bin/env python3
"""Looks whether a relative link of a document, or of the rustdoc pages in target/doc, leads nowhere."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
IN_MARKDOWN = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
IN_HTML = re.compile(r'<a [^>]*?href="([^"]+)"')

listed = subprocess.check_output(["git", "ls-files", "*.md"], text=True).split()
pages = [(Path(name), [a or b for a, b in IN_MARKDOWN.findall(CODE.sub("", Path(name).read_text()))]) for name in listed]
for crate in sorted(Path("crates").iterdir()) + [Path("foldlog")]:
    folder = Path("target/doc") / crate.name.replace("-", "_")
    pages += [(page, IN_HTML.findall(page.read_text())) for page in folder.rglob("*.html")]

dead = []
for page, links in pages:
    for link in links:
        path = unquote(re.split(r"[#?]", link)[0])
        # Of tracing's own documentation, which rustdoc repeats on our pages.
        if path == "dispatcher":
            continue
        if path and not re.match(r"[a-z]+:|//", link) and not (page.parent / path).exists():
            dead.append(f"{page}: {link}")
sys.exit("\n".join(sorted(set(dead))) or 0)
