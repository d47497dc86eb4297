"""Write the report: one HTML file that needs no network, for a screen and for paper.

1. The newest experiment's runs are picked, as far as there are any (collect.py).
2. Each finished phase says what it found (its report.py): a section, warnings, an answer for the three sentences.
3. The first screen answers: a badge for each question, and a forest plot (outcomes.py, forest.py).
4. One page is made of them, of which little stands open (folding.py, page.py).
"""

import datetime
import pkgutil
from dataclasses import dataclass, replace
from pathlib import Path

from common.files import text_sha256
from common.launch.catalogue import Catalogue
from common.report.blocks import Section, parts_of
from common.report.cautions import NO_EVIDENCE, cautions_section
from common.report.collect import FINISHED, Collected, Names, choose, collect_experiment, runs_in
from common.report.examples import examples_section
from common.report.figures import within_budget
from common.report.folding import fold_away
from common.report.forest import forest_of
from common.report.latents.section import latents_section
from common.report.outcomes import outcomes_of
from common.report.page import Page, write_page
from common.report.papers.writing import write_for_papers
from common.report.published import published_section
from common.report.runs import runs_section
from common.report.sentences import three_sentences
from common.report.texts import leave_out_texts, names_of_places
from common.runs.discovery import slug

ORDER = (  # of the page's sections; what is not named comes last
    "warnings", "detection", "dose", "steering", "attention", "orthogonalisation", "transfer", "prompt-ablation",
    "detector", "circuits", "errors", "published", "examples", "selection", "programs", "problems", "runs", "latents",
)  # fmt: skip
QUESTION = "Does a code model know that the Python it is about to write is wrong, and can we change that?"


@dataclass(frozen=True)
class ReportResult:
    """The experiment's name, where its report lies, its size in bytes, and its three sentences."""

    name: str
    path: Path
    n_bytes: int
    sentences: list[str]


def write_reports(
    catalogue: Catalogue,
    data_dir: Path,
    preset: str | None = None,
    given: dict[str, str] | None = None,
    out: Path | None = None,
    now: datetime.datetime | None = None,
    tables: Path | None = None,
    texts: bool = True,
) -> list[ReportResult]:
    """Write a report for each experiment that fits, the newest first; only for that one with `out`.

    It is report.html in the data folder where that holds one experiment, else report_<model>_<dataset>.html, so that
    no experiment's report takes another's place. `given` holds model, dataset and sae as they are typed; the others
    are the preset's, where there is one. The phases of `catalogue` say what they found. What a report shows is written
    into the folder `tables` too, for papers; of several experiments into one in it, named as the report. Without
    `texts` no problem, program or document is shown, and no folder's place on this machine.
    Raises: ConfigError for an unknown preset; MissingArtifactError when no phase from 1 on has a finished run of the
    experiment; PipelineError when the file cannot be written.
    """
    runs = runs_in(data_dir)
    chosen = choose(runs, given or {}, data_dir, preset)
    # A --sae that no phase has finished with belongs to none of all experiments: it is named beside them.
    every = {tuple(names.values()): names for names in [*choose(runs, {}, data_dir), *chosen]}
    files = _file_names([*every.values()])
    written = []
    for experiment in chosen if out is None else chosen[:1]:
        path = out or data_dir / files[tuple(experiment.values())]
        folder = tables and (tables / path.stem if len(chosen) > 1 and out is None else tables)
        written.append(_write(catalogue, collect_experiment(runs, experiment, data_dir), path, now, folder, texts))
    return written


def _write(
    catalogue: Catalogue,
    collected: Collected,
    path: Path,
    now: datetime.datetime | None,
    tables: Path | None,
    texts: bool,
) -> ReportResult:
    of_phases = sections_of_phases(catalogue, collected)
    sentences = three_sentences(collected, {name: section.answer for name, section in of_phases.items()})
    sections = sections_of(collected, list(of_phases.values()))
    if not texts:
        leave_out_texts(sections)
    title, kicker = f"{collected.name}: does it know that its program is wrong?", f"PVA-SAE · {collected.name}"
    if tables is not None:
        write_for_papers(collected, sections, tables)
    page = Page(
        title,
        kicker,
        QUESTION,
        collected.described,
        fold_away(sections),
        sentences,
        outcomes_of(collected),
        forest_of(collected),
        NO_EVIDENCE if collected.is_organism else "",
    )
    size = write_page(page, path, now, None if texts else names_of_places(collected))
    return ReportResult(collected.name, path, size, [str(sentence) for sentence in sentences])


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


def sections_of_phases(catalogue: Catalogue, collected: Collected) -> dict[str, Section]:
    """What each finished phase says of itself, by the name of its artifact, in the order of the phases."""
    sections = {}
    for phase_id in catalogue.phases:
        phase = catalogue.phase(phase_id)
        results = [one for one in collected.results_of(phase.output) if one.state == FINISHED]
        parts = [pkgutil.resolve_name(phase.report)(result, collected) for result in results]
        if parts:  # of several contrasts one behind the other
            blocks, warnings = (sum((getattr(part, name) for part in parts), []) for name in ("blocks", "warnings"))
            sections[phase.output.name] = replace(parts[0], blocks=blocks, warnings=warnings)
    return sections


def sections_of(collected: Collected, of_phases: list[Section]) -> list[Section]:
    """The parts of the page that have something to show, in its order."""
    warnings = [warning for section in of_phases for warning in section.warnings]
    parts = [
        cautions_section(collected, warnings),
        examples_section(collected),
        *of_phases,
        published_section(collected),
        runs_section(collected),
        latents_section(collected),
    ]
    joined: dict[str, Section] = {}
    for part in parts:
        if part is not None and part.id in joined:
            whole = joined[part.id]
            joined[part.id] = replace(whole, blocks=whole.blocks + part.blocks, source=whole.source or part.source)
        elif part is not None:
            joined[part.id] = part
    order = [*ORDER, *(name for name in joined if name not in ORDER)]
    shown = [joined[name] for name in order if name in joined and joined[name].blocks]
    within_budget([part for section in shown for part in parts_of(section.blocks)])
    return shown
