"""What mkdocs does with a page before it renders it: texts of the repository are put in, and links lead somewhere.

1. A line `--8<-- "phase0_difficulty/README.md"` is that file. With `#name` it is one part of it: the heading of that
   name, or the paragraphs that begin with it in bold, down to the next such place.
2. A line `--8<-- "docs/example_report.html#words"` is the figure of that page whose caption begins with these words.
3. A link to a file that a page shows leads to that page; where no page does, the words stay, and the path.

So what a README says is written once. A part that is not there is an error, and the build fails.
"""

from __future__ import annotations

import base64
import html
import posixpath
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs"
INCLUDE = re.compile(r'^--8<-- "([^"#]+)(?:#([^"]+))?"$', re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)(```|~~~)")
HEADING = re.compile(r"(#+) (.*)")
FIGURE = re.compile(
    r'<figure class="drawing"[^>]*>.*?src="data:image/(svg\+xml|png);base64,([^"]+)".*?<figcaption><b>(.*?)</b>(.*?)'
    r'(?: <a class="here"[^>]*>#</a>)?</figcaption>',
    re.DOTALL,
)


class NotThereError(Exception):
    """A page asks for what the repository does not hold."""


@cache
def text_of(path: str) -> str:
    if not (ROOT / path).is_file():
        raise NotThereError(f"a page includes {path}, which does not exist")
    return (ROOT / path).read_text(encoding="utf-8")


def part_of(path: str, name: str | None) -> str:
    """A file, or one part of it. Raises: NotThereError."""
    if name is None:
        return text_of(path)
    lines = text_of(path).splitlines()
    outside = [*_outside_fences(lines)]
    for start, line in enumerate(lines):
        heading = HEADING.fullmatch(line) if outside[start] else None
        if heading and heading[2] == name:
            level = len(heading[1])
            ends = (n for n, depth in _headings(lines, outside) if n > start and depth <= level)
            return "\n".join(lines[start : next(ends, len(lines))]).strip() + "\n"
        if outside[start] and line.startswith(f"**{name}**"):
            bold = (n for n, other in enumerate(lines) if n > start and outside[n] and _begins_a_part(lines, n, other))
            return "\n".join(lines[start : next(bold, len(lines))]).strip() + "\n"
    raise NotThereError(f"a page includes {path}#{name}, but {path} has no such heading and no such words in bold")


def figure_of(path: str, caption: str) -> tuple[str, bytes, str]:
    """The file name, the bytes and the whole caption of a figure. Raises: NotThereError."""
    for kind, data, title, rest in _figures_in(path):
        words = html.unescape(title)
        if words.startswith(caption):
            slug = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
            name = f"figures/{slug}.{'svg' if kind.startswith('svg') else 'png'}"
            return name, base64.b64decode(data), f"**{words}**{html.unescape(rest)}"
    raise NotThereError(f"a page shows the figure '{caption}' of {path}, which has none of that caption")


@cache
def _figures_in(path: str) -> list[tuple[str, str, str, str]]:
    return FIGURE.findall(text_of(path))


def includes(text: str) -> list[tuple[str, str | None]]:
    return [(path, name or None) for path, name in INCLUDE.findall(text)]


def is_figure(path: str) -> bool:
    return path.endswith(".html")


def shown_on(pages: Iterable[str]) -> dict[str, str]:
    """By file of the repository, the page that shows it, or its first part; a page shows itself."""
    found: dict[str, str] = {}
    whole: set[str] = set()
    for page in pages:
        found[f"{DOCS}/{page}"] = page
        for path, name in includes(text_of(f"{DOCS}/{page}")):
            if not is_figure(path) and path not in whole and (name is None or path not in found):
                found[path] = page
                whole |= {path} if name is None else set()
    return found


def assembled(page: str, shown: dict[str, str]) -> str:
    """A page's Markdown, with all that it includes and with links that lead to pages or to files of the site."""

    def put_in(found: re.Match) -> str:
        path, name = found[1], found[2]
        if is_figure(path):
            file, _, caption = figure_of(path, name or "")
            return f"![{name}]({_relative(file, page)})\n\n{caption}"
        part = with_links(part_of(path, name), path, page, shown)
        return _deeper(part, path) if found.start() > 0 and part.startswith("# ") else part

    own = f"{DOCS}/{page}"
    return INCLUDE.sub(put_in, with_links(text_of(own), own, page, shown))


def with_links(text: str, source: str, page: str, shown: dict[str, str]) -> str:
    """Text of the file `source` as it stands on a page: every link outside of code leads somewhere on the site.

    Where the site has nothing, the words stay, and the path within the repository.
    """

    def replaced(found: re.Match) -> str:
        target = _resolved(found[3], source, page, shown)
        if target is not None:
            return f"{found[1]}[{found[2]}]({target})"
        path = _path_of(found[3], source)
        return found[2] if path in found[2] else f"{found[2]} (`{path}`)"

    lines = text.splitlines(keepends=True)
    outside = _outside_fences(lines)
    return "".join(
        LINK.sub(replaced, line) if plain and not line.startswith("    ") else line
        for line, plain in zip(lines, outside, strict=True)
    )


def _resolved(link: str, source: str, page: str, shown: dict[str, str]) -> str | None:
    """A link of a file of the repository, as it is written on a page; None where the site has nothing there."""
    if "://" in link or link.startswith(("#", "mailto:")):
        return link
    _, mark, anchor = link.partition("#")
    target = _path_of(link, source)
    if target in shown:
        return _relative(shown[target], page) + mark + anchor
    if target.startswith(f"{DOCS}/") and (ROOT / target).is_file():
        return _relative(target.removeprefix(f"{DOCS}/"), page) + mark + anchor
    return None


def _path_of(link: str, source: str) -> str:
    """Where a relative link of a file leads, from the repository's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link.partition("#")[0]))


def _deeper(text: str, path: str) -> str:
    """A text that has a heading of its own, as a part of a page: headings one level down, and whose text it is."""
    lines = text.splitlines(keepends=True)
    outside = _outside_fences(lines)
    lines = [f"#{line}" if plain and HEADING.match(line) else line for line, plain in zip(lines, outside, strict=True)]
    return "".join([lines[0], f"\n`{posixpath.dirname(path)}/`\n", *lines[1:]])


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def _outside_fences(lines: Iterable[str]) -> list[bool]:
    """For each line whether it is text, and no code."""
    found, inside = [], ""
    for line in lines:
        fence = FENCE.match(line)
        found.append(not inside and not fence)
        if fence and inside in ("", fence[2]):
            inside = "" if inside else fence[2]
    return found


def _headings(lines: list[str], outside: list[bool]) -> Iterable[tuple[int, int]]:
    return ((n, len(found[1])) for n, line in enumerate(lines) if outside[n] and (found := HEADING.fullmatch(line)))


def _begins_a_part(lines: list[str], n: int, line: str) -> bool:
    """Whether a paragraph in bold begins here, a heading, or the table of a folder's files."""
    first = n == 0 or not lines[n - 1].strip()
    return bool(HEADING.fullmatch(line)) or (first and line.startswith(("**", "| file |")))


# --- what mkdocs calls -------------------------------------------------------------------------------------------


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File  # pyright: ignore[reportMissingImports] - in .docs alone

    figures = {}
    for page in files.documentation_pages():
        for path, name in includes(text_of(f"{DOCS}/{page.src_uri}")):
            if is_figure(path):
                file, content, _ = figure_of(path, name or "")
                figures[file] = content
    for file, content in figures.items():
        files.append(File.generated(config, file, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    return assembled(page.file.src_uri, shown_on(file.src_uri for file in files.documentation_pages()))
