"""Write the report: one HTML file that needs no network, for a screen and for paper.

1. The newest experiment's runs are picked, as far as there are any (collect.py).
2. Each finished phase says what it found (its report.py): a section, warnings, an answer for the three sentences.
3. The template makes one page of them. Every value is escaped, and the page's policy forbids any network.
"""

import base64
import datetime
import hashlib
import pkgutil
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.files import text_sha256, write_atomic
from common.launch.program import Program
from common.phases.settings import build_config
from common.problems.settings import DatasetConfig
from common.report.blocks import Section
from common.report.cautions import cautions_section
from common.report.collect import Collected, Names, choose, collect_experiment, runs_in
from common.report.examples import examples_section
from common.report.figures import within_budget
from common.report.runs import runs_section
from common.report.sentences import Sentence, three_sentences
from common.runs.discovery import plain_name, slug
from common.saes.settings import SaeConfig
from common.words import typeset

HERE = Path(__file__).parent
ORDER = (  # of the page's sections; what is not named comes last
    "warnings", "detection", "dose", "steering", "attention", "orthogonalisation", "transfer", "prompt-ablation",
    "detector", "examples", "selection", "programs", "problems", "runs",
)  # fmt: skip
TEMPLATE, STYLE, SCRIPT = "page.html.j2", "page.css", "page.js"


@dataclass(frozen=True)
class ReportResult:
    """The experiment's name, where its report lies, its size in bytes, and its three sentences."""

    name: str
    path: Path
    n_bytes: int
    sentences: list[str]


def write_reports(
    program: Program,
    data_dir: Path,
    preset: str | None = None,
    given: dict[str, str] | None = None,
    out: Path | None = None,
    now: datetime.datetime | None = None,
) -> list[ReportResult]:
    """Write a report for each experiment that fits, the newest first; only for that one with `out`.

    It is report.html in the data folder where that holds one experiment, else report_<model>_<dataset>.html, so that
    no experiment's report takes another's place. `given` holds model, dataset and sae as they are typed; the others
    are the preset's, where there is one. The phases of `program` say what they found.
    Raises: ConfigError for an unknown preset; MissingArtifactError when no phase from 1 on has a finished run of the
    experiment; PipelineError when the file cannot be written.
    """
    runs = runs_in(data_dir)
    chosen = choose(runs, {**_of_preset(preset), **(given or {})}, data_dir, preset)
    # A --sae that no phase has finished with belongs to none of all experiments: it is named beside them.
    every = {tuple(names.values()): names for names in [*choose(runs, {}, data_dir), *chosen]}
    files = _file_names([*every.values()])
    written = []
    for experiment in chosen if out is None else chosen[:1]:
        path = out or data_dir / files[tuple(experiment.values())]
        written.append(_write(program, collect_experiment(runs, experiment, data_dir), path, now))
    return written


def _write(program: Program, collected: Collected, path: Path, now: datetime.datetime | None) -> ReportResult:
    found = sections_of_phases(program, collected)
    sentences = three_sentences(collected, {name: section.answer for name, section in found.items()})
    sections = sections_of(collected, list(found.values()))
    page = render(collected, sentences, sections, now or datetime.datetime.now(datetime.UTC))
    data = page.encode("utf-8", "backslashreplace")
    write_atomic(path, data)
    return ReportResult(collected.name, path, len(data), [str(sentence) for sentence in sentences])


def _file_names(experiments: list[Names]) -> dict[tuple, str]:
    """The report's file of each experiment in a data folder, by its names; as short as tells them apart."""
    if len(experiments) == 1:
        return {tuple(experiments[0].values()): "report.html"}
    every = [tuple(names.values()) for names in experiments]
    for n_told in range(2, len(every[0]) + 1):
        files = {names: "_".join(["report", *(slug(name) for name in names[:n_told] if name)]) for names in every}
        if len({*files.values()}) == len(files):
            return {names: f"{file}.html" for names, file in files.items()}
    return {names: f"{file}_{text_sha256(repr(names))[:8]}.html" for names, file in files.items()}


def _of_preset(preset: str | None) -> dict[str, str]:
    """Model, dataset and sae of a preset."""
    if preset is None:
        return {}
    sae, dataset = build_config(SaeConfig, preset, {}), build_config(DatasetConfig, preset, {})
    return {"model": sae.model, "dataset": dataset.dataset, "sae": sae.sae}


def sections_of_phases(program: Program, collected: Collected) -> dict[str, Section]:
    """What each finished phase says of itself, by the name of its artifact, in the order of the phases."""
    found = {}
    for phase_id in program.phases:
        phase = program.phase(phase_id)
        result = collected.finished(phase.output)
        if result is not None:
            found[phase.output.name] = pkgutil.resolve_name(phase.report)(result, collected)
    return found


def sections_of(collected: Collected, of_phases: list[Section]) -> list[Section]:
    """The parts of the page that have something to show, in its order."""
    warnings = [warning for section in of_phases for warning in section.warnings]
    parts = [cautions_section(collected, warnings), examples_section(collected), *of_phases, runs_section(collected)]
    joined: dict[str, Section] = {}
    for part in parts:
        if part is not None and part.id in joined:
            whole = joined[part.id]
            joined[part.id] = replace(whole, blocks=whole.blocks + part.blocks, source=whole.source or part.source)
        elif part is not None:
            joined[part.id] = part
    order = [*ORDER, *(name for name in joined if name not in ORDER)]
    shown = [joined[name] for name in order if name in joined and joined[name].blocks]
    within_budget([section.blocks for section in shown])
    return shown


def render(collected: Collected, sentences: list[Sentence], sections: list[Section], now: datetime.datetime) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
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
        sections=sections,
    )


def policy(script: str) -> str:
    """What a browser may do with the page: nothing from anywhere, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _described(collected: Collected) -> list[tuple[str, str]]:
    words = {"model": "Model", "dataset": "Problems", "sae": "SAEs", "prompt": "Prompts"}
    known = {key: word for key, word in collected.experiment.items() if word is not None}
    return [(words[key], plain_name(word)) for key, word in known.items()]
