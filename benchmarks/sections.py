"""The file of results: one section for each benchmark, which replaces its own and keeps the others."""

import re
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def write_section(path: Path, title: str, text: str) -> None:
    """Put `text` under the heading `title`, in place of what stood there, or at the end."""
    old = path.read_text() if path.is_file() else ""
    sections = dict(re.findall(r"^## ([^\n]+)\n\n(.*?)(?=^## |\Z)", old, re.DOTALL | re.MULTILINE))
    sections[title] = text
    parts = [f"## {name}\n\n{body.strip()}\n" for name, body in sections.items()]
    path.write_text("\n".join(["# Benchmarks\n", *parts]))
