"""On the page: what the general-text filter costs, and how many latents hold what a layer knows."""

from common.handoffs.selected import AtLimit, CrossValidatedProbe, LayerProbing, SelectedDocument
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Scale,
    Table,
    count_cell,
    estimate,
    figure_cell,
    number_cell,
    share,
    table_of,
    text,
)
from common.words import count, direction_words, interval, latent_words, number, plural
from phase2_sae_analysis.words import for_its_label

AUROC = "in the latent's own favour: for incorrect programs where the direction is an incorrect one, else for correct"
AXIS = Scale(0.3, 1.0, 0.5)
_FROM_FOLDS = (
    "5 folds of the selection split; pairs of problems inside a fold are compared; the interval holds fixed what was "
    "chosen, and is too narrow near 0.5"
)


def limits_in_words(result: SelectedDocument) -> str:
    """'at most 2.0 % of general text', or the range of the layers' limits."""
    settled = [site.general_text.limit for site in result.sites]
    low, high = number(100 * min(settled), 1), number(100 * max(settled), 1)
    if low == high:
        return f"at most {low} % of general text"
    return f"no more of general text than the limit of their layer ({low} to {high} %)"


def blocks_of_filter(result: SelectedDocument) -> list[Block]:
    """Of a description of the validation split only what was left out: nothing is chosen there."""
    heading = Heading("What the general-text filter costs")
    return [heading, *([_filter_words(result), _limits(result.limits)] if result.limits else []), _left_out(result)]


def _filter_words(result: SelectedDocument) -> Paragraph:
    everything, used = result.limits[0], _as_used(result)
    n_undecided = sum(site.general_text.undecided for site in result.sites)
    verb = "lies" if n_undecided == 1 else "lie"
    return Paragraph(
        f"With the limit that was used the best latent has a cross-validated AUROC of {interval(used.auroc)}, "
        f"without a limit one of {interval(everything.auroc)}. The latent is chosen by |t| on four fifths of the "
        f"problems and read on the others. {plural(n_undecided, 'latent')} {verb} within the interval of the limit: "
        "other documents could have decided otherwise."
    )


def _as_used(result: SelectedDocument) -> AtLimit:
    return next(row for row in result.limits if row.limit is None)


def _limits(rows: list[AtLimit]) -> Table:
    columns = [
        Column("Limit", "largest share of general-text documents on which a latent may fire", False, _limit_cell),
        Column("Stay", "latents of all layers", cell=lambda row: count_cell(row.kept)),
        Column("Best latent", "largest |t| on all problems", False, lambda row: text(_named(row))),
        Column(
            "t", "positive: more active on problems that fail", cell=lambda row: figure_cell(row.best and row.best.t)
        ),
        Column("On general text", cell=lambda row: share(row.best and row.best.general_text_rate)),
        Column("AUROC", _FROM_FOLDS, cell=lambda row: estimate(row.auroc, 3, scale=AXIS)),
    ]
    return table_of("The best latent under each limit", columns, rows)


def _limit_cell(row: AtLimit) -> Cell:
    if row.limit is None:
        return Cell("the one used")
    return Cell("none" if row.limit >= 1 else f"{number(100 * row.limit, 0)} %", sort=row.limit)


def _named(row: AtLimit) -> str | None:
    return None if row.best is None else latent_words(row.best)


def _left_out(result: SelectedDocument) -> Table:
    columns = [
        Column("Direction", numeric=False),
        Column("Layer"),
        Column("Latent"),
        Column("t", "Welch; positive: more active on problems that fail"),
        Column("Separation", "share of correct problems on which it fires minus that of incorrect ones"),
        Column("AUROC", AUROC),
        Column("On general text", "share of documents on which it fires; below it the limit of its layer"),
        Column("Beats the selected one", numeric=False),
    ]
    rows = [
        [
            Cell(direction_words(name)),
            number_cell(lost.layer),
            number_cell(lost.latent),
            figure_cell(lost.t, signed=True),
            figure_cell(lost.separation, signed=True),
            figure_cell(for_its_label(name, lost.auroc)),
            Cell(
                f"{number(100 * lost.general_text_rate, 1)} %",
                f"limit {number(100 * lost.limit, 1)} %{', filter undecided' if lost.undecided else ''}",
                lost.general_text_rate,
            ),
            Cell("yes" if lost.stronger else "no"),
        ]
        for name, entry in result.directions.items()
        if (lost := entry.left_out) is not None
    ]
    note = "" if rows else "No latent that speaks for either label was left out."
    return Table("The strongest latents that the filter left out", columns, rows, note=note)


def blocks_of_probing(result: SelectedDocument) -> list[Block]:
    if not result.sparse_probing:
        return []
    heading = Heading("How many latents hold what a layer knows")
    return [heading, *_probing_words(result), _probing(result.sparse_probing)]


def _probing_words(result: SelectedDocument) -> list[Block]:
    """Of the layer of the latent with the largest |t|: it is not chosen by what is said of it."""
    best = _as_used(result).best
    layer = next((each for each in result.sparse_probing if best and each.layer == best.layer), None)
    if layer is None or not layer.sparse:
        return []
    told = [f"{interval(probe.auroc)} of {plural(probe.k, 'latent')}" for probe in (layer.sparse[0], layer.sparse[-1])]
    return [
        Paragraph(
            f"Layer {layer.layer}, which has the latent with the largest |t|: the cross-validated AUROC is "
            f"{' and '.join(told[: len(layer.sparse)])}, and {interval(layer.full.auroc)} of the whole residual "
            f"stream. The latents with the largest |t|, of either sign, are chosen inside each fold from "
            f"{count(layer.n_latents)} that are ranked and fire, and so is the penalty."
        )
    ]


def _probing(layers: list[LayerProbing]) -> Table:
    sizes = sorted({probe.k for layer in layers for probe in layer.sparse})
    columns = [Column("Layer", cell=lambda layer: number_cell(layer.layer))]
    columns += [_column_of(k) for k in sizes]
    whole = "L2 logistic regression on all of its dimensions, on the same folds"
    columns += [Column("Whole stream", whole, cell=lambda layer: _area(layer.full))]
    title = "Cross-validated AUROC by number of latents"
    return table_of(title, columns, layers, note=f"L2 logistic regression; {_FROM_FOLDS}.")


def _column_of(k: int) -> Column:
    def cell(layer: LayerProbing) -> Cell:
        return _area(next((probe for probe in layer.sparse if probe.k == k), None))

    return Column(plural(k, "latent"), cell=cell)


def _area(probe: CrossValidatedProbe | None) -> Cell:
    return estimate(None if probe is None else probe.auroc, 3)
