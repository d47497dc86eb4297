"""A page: one HTML file for a screen and for paper. Every value is escaped, and its policy forbids any network."""

import base64
import datetime
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from common.files import write_atomic
from common.report.blocks import Forest, Section
from common.report.folding import figures_and_tables, placed
from common.report.outcomes import Outcome
from common.report.sentences import Sentence
from common.words import typeset

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "page.html.j2", "page.css", "page.js"


@dataclass(frozen=True)
class Page:
    """`title` is the browser's; `kicker` stands above the `heading`, `described` below it: terms and words.

    The first screen shows the `outcomes` as badges, then the `forest`; the `sentences` have the numbers. `notice` is
    what nobody may overlook.
    """

    title: str
    kicker: str
    heading: str
    described: list[tuple[str, str]]
    sections: list[Section]
    sentences: Sequence[Sentence] = ()
    outcomes: Sequence[Outcome] = ()
    forest: Forest | None = None
    notice: str = ""


def write_page(
    page: Page, path: Path, now: datetime.datetime | None = None, named: Mapping[str, str] | None = None
) -> int:
    """Write it, with other words for those that are keys of `named`, in their order; returns its size in bytes.

    Raises: PipelineError when the file cannot be written.
    """
    text = render(page, now or datetime.datetime.now(datetime.UTC))
    for words, name in (named or {}).items():
        text = text.replace(escape(words), escape(name))
    data = text.encode("utf-8", "backslashreplace")
    write_atomic(path, data)
    return len(data)


def render(page: Page, now: datetime.datetime) -> str:
    script = (HERE / SCRIPT).read_text()
    page = replace(page, sections=placed(page.sections))
    return compiled(HERE / TEMPLATE, typeset=typeset).render(
        page=page,
        index=[(section, figures_and_tables(section)) for section in page.sections],
        date=now.astimezone(datetime.UTC).date().isoformat(),
        policy=policy(script),
        style=Markup((HERE / STYLE).read_text()),
        script=Markup(script),
    )


@functools.cache  # compiling it takes longer than a page
def compiled(template: Path, **filters: Callable[..., str]) -> Template:
    """A page's template, which escapes every value and knows these filters."""
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment.get_template(template.name)


def policy(script: str) -> str:
    """What a browser may do with the page: nothing from anywhere, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
