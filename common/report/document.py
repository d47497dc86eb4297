"""Write the report: one HTML file that needs no network, for a screen and for paper.

1. The newest experiment's runs are picked, as far as there are any (collect.py).
2. Each finished phase becomes a section; three sentences and the warnings are computed from the results.
3. The template makes one page of them. Every value is escaped, and the page's policy forbids any network.
"""

import base64
import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.config import DatasetConfig, SaeConfig, build_config
from common.discovery import plain_name
from common.files import write_atomic
from common.handoffs import COEFFICIENTS, DETECTION, DETECTOR, LATENTS, STEERING
from common.report.blocks import Section
from common.report.cautions import cautions_section
from common.report.collect import Collected, collect
from common.report.detection import detection_section
from common.report.detector import detector_section
from common.report.examples import examples_section
from common.report.figures import within_budget
from common.report.general import SECTIONS, general_section
from common.report.latents import latents_section
from common.report.programs import problems_section, programs_section
from common.report.runs import runs_section
from common.report.sentences import Sentence, three_sentences
from common.report.steering import dose_section, steering_section
from common.report.wording import typeset

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "page.html.j2", "page.css", "page.js"


@dataclass(frozen=True)
class ReportResult:
    """Where the report lies, its size in bytes, and its three sentences."""

    path: Path
    n_bytes: int
    sentences: list[str]


def write_report(
    data_dir: Path, preset: str | None = None, given: dict[str, str] | None = None, out: Path | None = None,
    now: datetime.datetime | None = None,
) -> ReportResult:  # fmt: skip
    """Write the report of one experiment into `out`, or report.html in the data folder.

    `given` holds model, dataset and sae as they are typed; the others are the preset's, and without a preset those
    of the newest finished run.
    Raises: ConfigError for an unknown preset; MissingArtifactError when no phase from 1 on has a finished run of the
    experiment; PipelineError when the file cannot be written.
    """
    collected = collect(data_dir, {**_of_preset(preset), **(given or {})}, preset)
    sentences = three_sentences(collected)
    page = render(collected, sentences, now or datetime.datetime.now(datetime.UTC)).encode("utf-8", "backslashreplace")
    path = out or data_dir / "report.html"
    write_atomic(path, page)
    return ReportResult(path, len(page), [str(sentence) for sentence in sentences])


def _of_preset(preset: str | None) -> dict[str, str]:
    """Model, dataset and sae of a preset."""
    if preset is None:
        return {}
    sae, dataset = (build_config(kind, preset, {}) for kind in (SaeConfig, DatasetConfig))
    return {"model": sae.model, "dataset": dataset.dataset, "sae": sae.sae}


def sections_of(collected: Collected) -> list[Section]:
    """The parts of the page that have something to show, in its order."""
    sections: list[Section | None] = [cautions_section(collected)]
    for handoff, build in ((DETECTION, detection_section), (COEFFICIENTS, dose_section), (STEERING, steering_section)):
        phase = collected.finished(handoff)
        sections.append(None if phase is None else build(phase))
    for handoff, title, question in SECTIONS:
        phase = collected.finished(handoff)
        sections.append(None if phase is None else general_section(phase, title, question))
    detector = collected.finished(DETECTOR)
    sections.append(None if detector is None else detector_section(detector))
    sections.append(examples_section(collected))
    latents = collected.finished(LATENTS)
    sections.append(None if latents is None else latents_section(latents))
    sections += [programs_section(collected), problems_section(collected), runs_section(collected)]
    shown = [section for section in sections if section is not None and section.blocks]
    within_budget([section.blocks for section in shown])
    return shown


def render(collected: Collected, sentences: list[Sentence], now: datetime.datetime) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["typeset"] = typeset
    script = (HERE / SCRIPT).read_text()
    return environment.get_template(TEMPLATE).render(
        name=collected.name,
        described=_described(collected),
        date=now.astimezone(datetime.UTC).date().isoformat(),
        policy=policy(script),
        style=Markup((HERE / STYLE).read_text()),
        script=Markup(script),
        sentences=sentences,
        sections=sections_of(collected),
    )


def policy(script: str) -> str:
    """What a browser may do with the page: nothing from anywhere, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _described(collected: Collected) -> list[tuple[str, str]]:
    words = {"model": "Model", "dataset": "Problems", "sae": "SAEs"}
    known = {key: word for key, word in collected.experiment.items() if word is not None}
    return [(words[key], plain_name(word)) for key, word in known.items()]
