"""The sentences and tables that the report shows of phase 3.4, made from attention.json's numbers."""

from common.handoffs.changes import (
    AttentionDocument,
    AttentionMoved,
    AttentionUnmoved,
    Cell,
    HeadMove,
    ResultTable,
    SectionMove,
)
from common.handoffs.estimates import Interval
from common.words import listed, with_bounds

N_SHOWN = 10  # heads in a table
ONLY_SUGGESTS = (
    "Attention shows what a head reads, not what the output depends on: what follows from it is only a suggestion, "
    "and phase 3.7 tests it by taking sections out of the prompt."
)


def sentences(result: AttentionDocument) -> list[str]:
    """What was found, direction by direction, and what it does not show."""
    said = [sentence for name, entry in result.directions.items() for sentence in _direction(name, entry, result)]
    if without := result.layers_without_attention:
        layers = listed([str(layer) for layer in without])
        said.append(f"Left out, because the model has no attention weights there: layers {layers}.")
    return [*said, ONLY_SUGGESTS]


def tables(result: AttentionDocument) -> list[ResultTable]:
    """For each direction the sections, and the heads that move most."""
    made, words = [], result.section_words
    for name, entry in result.directions.items():
        columns = ["section", "unsteered", "steered", "change"]
        ranked = [*columns, "rank among random directions"]
        if isinstance(entry, AttentionMoved) and entry.overall:
            n = entry.random_directions.n if entry.random_directions else 0
            rows: list[list[Cell]] = [
                [words[move.section], *_cells(move), f"{move.rank} of {n + 1}"] for move in entry.overall
            ]
            title = f"{name}: attention of the last prompt token, mean of {entry.n_heads} heads"
            made.append(ResultTable(title=title, columns=ranked, rows=rows))
            rows = [[move.layer, move.head, words[move.section], *_cells(move)] for move in _largest(entry)]
            columns = ["layer", "head", *columns]
            title = f"{name}: the {len(rows)} largest changes of one head that are beyond all random directions"
            made += [ResultTable(title=title, columns=columns, rows=rows)] if rows else []
    return made


def in_short(entry: AttentionMoved | AttentionUnmoved) -> str:
    if isinstance(entry, AttentionUnmoved):
        return "not steered"
    if entry.displaced is None:
        return "no attention left to move"
    return f"{100 * entry.displaced.known:.1f} % of the attention moves"


def _direction(name: str, entry: AttentionMoved | AttentionUnmoved, result: AttentionDocument) -> list[str]:
    if isinstance(entry, AttentionUnmoved):
        return [f"{name} was not steered: {entry.why}."]
    place = f"{name} ({entry.coefficient:+g} mean norms at layer {entry.layer}, {entry.site})"
    if entry.displaced is None or entry.random_directions is None:
        return [f"{place} is added behind the last attention there is: no attention can move."]
    words, n = result.section_words, entry.n_heads
    own, others = entry.displaced, entry.random_directions
    as_much = others.n_as_much
    verdict = f"{as_much} of them as much or more" if as_much else "all of them less"
    low, high = min(others.displaced), max(others.displaced)
    beyond_random = [f"{words[move.section]} {_points(move.change)}" for move in entry.overall if move.found]
    beyond = "No section gains or loses more than under every random direction."
    if beyond_random:
        beyond = f"In points of attention, beyond all of them: {listed(beyond_random)}."
    by_chance = entry.n_compared / (1 + others.n)
    return [
        f"{place} moves {_percent(own)} of the last prompt token's attention to another section, mean of {result.n} "
        f"problems and of the {n} heads from layer {entry.first_layer_reached} on; {others.n} random directions of the "
        f"same length move {100 * low:.2f} to {100 * high:.2f} %: {verdict} (rank p = {others.rank_p:.2g}).",
        f"{beyond} Of {entry.n_compared} pairs of a head and a section, {entry.n_found} change more than under all "
        f"{others.n} random directions, in {entry.n_heads_moved} of {n} heads; about {by_chance:.1f} would if the "
        f"direction were one of them.",
    ]


def _largest(entry: AttentionMoved) -> list[HeadMove]:
    return sorted((move for move in entry.moves if move.found), key=lambda move: -abs(move.change.known))[:N_SHOWN]


def _cells(move: SectionMove | HeadMove) -> list[str]:
    return [_percent(move.before), _percent(move.after), _points(move.change)]


def _percent(share: Interval) -> str:
    return with_bounds(share.times(100), ".2f", " %")


def _points(change: Interval) -> str:
    return with_bounds(change.times(100), "+.2f")
