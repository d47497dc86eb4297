"""Phase 2 on the page: which latents were selected, how sure that is, and which problems they fire on."""

from dataclasses import replace
from typing import Any

from common.handoffs.selected import WARN_ABOVE, SelectedDirection, SelectedDocument, SelectedLatent, Site
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    figure_cell,
    latent_cell,
    number_cell,
    p_cell,
    share,
    table_of,
    text,
    warning,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.saes.settings import TIMES_THE_MEAN
from common.words import count, direction_words, latent_words, left_out_words, listed, number, roles_words
from phase2_sae_analysis.report_cross_validated import AUROC, blocks_of_filter, blocks_of_probing, limits_in_words
from phase2_sae_analysis.words import cost_of_the_filter, for_its_label

N_PROBLEMS = 3  # of each selected latent
CAPTIONS = {
    "limits": (
        "What the general-text filter costs",
        "Horizontal: largest share of general text on which a latent may fire. Points: cross-validated AUROC of the "
        "best latent that stays, with 95 % interval; dotted: chance. Bars, right axis: latents that stay.",
    ),
    "sparse_probing": (
        "How many latents hold what a layer knows",
        "Horizontal: latents in a logistic regression, chosen inside each fold; at the right end the whole residual "
        "stream. Vertical: cross-validated AUROC; dotted: chance. A line for each layer.",
    ),
    "null_maximum": (
        "The largest |t| by chance, and the one observed",
        "Horizontal: largest |t| of all ranked latents. Vertical: permutations of the labels. Dashed: the line "
        "below which 95 % of the permutations stay; solid: what was observed.",
    ),
    "volcano": (
        "Every ranked latent",
        "Horizontal: share of correct problems on which a latent fires minus that of incorrect ones. Vertical: "
        "−log10 of its own p. Selected latents are named by layer and number.",
    ),
    "by_layer": (
        "Separation and t by layer",
        "Horizontal: layer. Vertical: quantiles of |separation| (left) and of |t| (right) of the ranked latents.",
    ),
    "activations": (
        "Activations of the selected latents",
        "Horizontal: activation, in the SAE's units. Vertical, logarithmic: share of the correct and of the "
        "incorrect problems.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: SelectedDocument = phase.document()
    question = "Which latents differ between programs that pass and programs that fail?"
    section = Section("selection", "Selection of latents", question, source=phase.place)
    section.warnings += _warnings(result)
    section.answer = result.conclusion
    null = result.null_maximum_of_abs_t
    section.blocks += [
        Paragraph(result.conclusion, "verdict"),
        Paragraph(
            f"On the {count(result.problems)} problems of the selection split ({count(result.correct)} correct, "
            f"{count(result.incorrect)} incorrect). {count(result.kept)} of {count(result.latents)} latents "
            f"fire on {limits_in_words(result)} and are ranked. The "
            f"family-wise p compares |t| with the largest of all under {count(null.n_permutations)} permutations of "
            "the labels."
        ),
        _selected(result.directions),
        _runners_up(result.directions),
        *blocks_of_filter(result),
        *blocks_of_probing(result),
    ]
    figures = figures_of(phase, CAPTIONS)
    section.blocks += [Heading("Figures"), *figures] if figures else []
    section.blocks += [_top_problems(phase.artifact.table("top_problems.parquet")), _sites(result.sites)]
    return section


def _warnings(result: SelectedDocument) -> list[Block]:
    warnings = []
    weak = [direction_words(name) for name, entry in result.directions.items() if not entry.significant]
    if weak:
        words = f"Not significant among all ranked latents (family-wise 0.05): {listed(weak)}."
        warnings.append(warning("Selection by chance", words))
    bad = [str(site.layer) for site in result.sites if _fits_badly(site)]
    if bad:
        words = f"The SAE of layer {listed(bad)} leaves more than half of the variance of general text unexplained."
        warnings.append(warning("Bad fit", words))
    near = dict.fromkeys(  # one latent may have been selected for several directions
        f"{latent_words(latent)} fires on {number(100 * latent.general_text_rate, 1)} % of it"
        for entry in result.directions.values()
        for latent in entry.latents[:1]
        if latent.undecided
    )
    if near:
        words = f"The limit on general text lies within the interval of a rate: {listed([*near])}"
        warnings.append(warning("Near the limit of the filter", f"{words}. With other text it might be left out."))
    dense = [site for site in result.sites if TIMES_THE_MEAN * site.general_text.mean_rate >= 1]
    warnings += [
        warning(
            "Not a sparse dictionary",
            f"A latent of layer {site.layer} fires on {number(100 * site.general_text.mean_rate, 0)} % of general text "
            "on average: the filter can leave nothing out there, and a latent is no rare feature.",
        )
        for site in dense
    ]
    costs = (cost_of_the_filter(name, entry) for name, entry in result.directions.items())
    warnings += [warning("A stronger latent was left out", words) for words in costs if words is not None]
    if result.left_out:
        warnings.append(warning("Left out", f"In selection: {left_out_words(result.left_out)}."))
    return warnings


def _fits_badly(site: Site) -> bool:
    return any(fvu is None or fvu > WARN_ABOVE for fvu in (site.fvu, site.fvu_ordinary))


def _columns(first: list[Column]) -> list[Column]:
    return [
        *first,
        Column("Layer"),
        Column("Latent"),
        Column("t", "Welch; positive: more active on problems that fail"),
        Column("Family-wise p"),
        Column("Separation", "share of correct problems on which it fires minus that of incorrect ones"),
        Column("Fires: correct"),
        Column("Fires: incorrect"),
        Column("AUROC", AUROC),
        Column(
            "On general text",
            "share of documents on which it fires; filter undecided: the limit lies within its interval, so other "
            "documents could have left the latent out",
        ),
    ]


def _cells(name: str, latent: SelectedLatent, link: bool = False) -> list[Cell]:
    """Of a direction's latent whose page is part of the report, with a `link` to it; of others to Neuronpedia's."""
    named = latent_cell(latent.latent, latent.layer, latent.latent) if link else text(latent.latent, latent.neuronpedia)
    return [
        number_cell(latent.layer),
        replace(named, sort=latent.latent),
        figure_cell(latent.t, signed=True),
        p_cell(latent.p_max),
        figure_cell(latent.separation, signed=True),
        share(latent.f_correct),
        share(latent.f_incorrect),
        figure_cell(for_its_label(name, latent.auroc)),
        replace(share(latent.general_text_rate), under="filter undecided" if latent.undecided else ""),
    ]


def _selected(directions: dict[str, SelectedDirection]) -> Table:
    rows = [
        [Cell(direction_words(name)), *_cells(name, entry.latents[0], link=True)]
        for name, entry in directions.items()
        if entry.latents
    ]
    without = [direction_words(name) for name, entry in directions.items() if not entry.latents]
    roles = roles_words([entry.latents[0] for entry in directions.values() if entry.latents])
    notes = [
        f"They are {roles}." if roles else "",
        f"No latent has the direction {', '.join(without)}." * bool(without),
    ]
    return Table(
        "The selected latents", _columns([Column("Direction", numeric=False)]), rows, note=" ".join(filter(None, notes))
    )


def _runners_up(directions: dict[str, SelectedDirection]) -> Table:
    rows = [
        [Cell(direction_words(name)), count_cell(latent.rank), *_cells(name, latent)]
        for name, entry in directions.items()
        for latent in entry.latents[1:]
    ]
    return Table("Runners-up", _columns([Column("Direction", numeric=False), Column("Rank")]), rows, folded=True)


def _top_problems(rows: list[dict[str, Any]]) -> Table:
    passes = "share of the problem's programs that are correct"
    columns = [
        Column("Direction", numeric=False, cell=lambda row: Cell(direction_words(row["direction"]))),
        Column("Activation", "in the SAE's units", cell=lambda row: figure_cell(row["activation"])),
        Column("Problem", cell=lambda row: number_cell(row["task_id"])),
        Column("Passes", passes, cell=lambda row: share(row["pass_rate"])),
        Column("Description", numeric=False, cell=lambda row: Cell(row["text"])),
    ]
    shown = [row for row in rows if row["rank"] == 1 and row["place"] <= N_PROBLEMS]
    return table_of("Problems on which the selected latents are most active", columns, shown, folded=True)


def _sites(sites: list[Site]) -> Table:
    columns = [
        Column("Layer"),
        Column("SAE", numeric=False),
        Column(
            "FVU",
            "fraction of variance of general text that its reconstruction leaves unexplained; above 0.5 it fits badly",
        ),
        Column("L0", "latents that fire at a position of general text, on average"),
        Column("Documents"),
        Column("Missed", "share of the squared length at the last prompt token that it misses"),
        Column("FVU between prompts", "there, after the error that all prompts share; says nothing of its site"),
        Column("Mean rate", "share of general-text documents on which a latent fires, mean of all"),
        Column("Limit", "of that rate, for a latent to be ranked"),
        Column("Ranked", "latents below it; below that, how many lie within their interval of it"),
    ]
    rows = [
        [
            number_cell(site.layer),
            Cell(site.sae_id),
            figure_cell(site.fvu_ordinary, 3),
            figure_cell(site.l0, 1),
            count_cell(site.n),
            share(site.last_prompt_token.missed_share),
            figure_cell(site.last_prompt_token.fvu_between, 2),
            Cell(f"{number(100 * site.general_text.mean_rate, 2)} %", sort=site.general_text.mean_rate),
            share(site.general_text.limit),
            replace(count_cell(site.general_text.kept), under=f"{count(site.general_text.undecided)} undecided"),
        ]
        for site in sites
    ]
    return Table("How well the SAEs fit", columns, rows, folded=True)
