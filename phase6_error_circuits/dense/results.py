"""From the metrics of single pairs to the curves, nodes and directions, and to what the document says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import ArtifactMismatchError
from common.evaluation.statistics import counted
from common.handoffs.error_dense import (
    ENOUGH,
    FEW,
    DenseCurves,
    DenseNode,
    DenseNulls,
    DenseVerdict,
    DifferenceDirection,
)
from common.handoffs.error_patching import StudiedPairs
from common.tables import TableRow
from phase6_error_circuits.dense import jobs
from phase6_error_circuits.dense.config import ErrorDenseConfig
from phase6_error_circuits.estimates import Shares, described, names_of_positions
from phase6_error_circuits.pair import ErrorPair

N_NODES_SHOWN = 30  # in the document


@dataclass(frozen=True)
class Measured:
    """The rows of metrics.parquet, by what they are of; the first `n_select` pairs select."""

    rows: Sequence[TableRow]
    pairs: Sequence[ErrorPair]
    n_select: int
    config: ErrorDenseConfig

    @property
    def splits(self) -> dict[str, slice]:
        return {"select": slice(0, self.n_select), "held_out": slice(self.n_select, len(self.pairs))}

    def of(self, what: str, size: int = -1) -> np.ndarray:
        """Values of what was computed, [draws, values]."""
        return np.array([row["values"] for row in self.rows if (row["what"], row["size"]) == (what, size)])

    @property
    def sizes(self) -> list[int]:
        """Nodes of each circuit: the last sizes may be all nodes that differ."""
        return [row["n_nodes"] for row in self.rows if row["what"] == jobs.CIRCUIT]

    @property
    def told(self) -> dict[str, Any]:
        """What the record of everything says of the ranking, with the number of nodes that differ."""
        row = next(row for row in self.rows if row["what"] == jobs.EVERYTHING)
        return {**json.loads(row["nodes"]), "n": row["n_nodes"]}

    def check_ranking(self, path: object) -> None:
        """Raises: ArtifactMismatchError where processes ranked the nodes differently."""
        rankings = {row["ranking"] for row in self.rows if row["ranking"]}
        if len(rankings) > 1:
            raise ArtifactMismatchError(
                f"the circuits in {path} are of {len(rankings)} different rankings: its processes computed otherwise, "
                f"on other kinds of machines or versions\nStart over, on one kind of machine, with --fresh"
            )

    def departure(self, what: str, like: str) -> float:
        """The largest difference of a pair's metric to what it must be."""
        return float(np.abs(self.of(what) - self.of(like)).max())


def shares_of(measured: Measured, split: str) -> Shares:
    pairs = measured.splits[split]
    total = measured.of(jobs.CLEAN)[0, pairs] - measured.of(jobs.CORRUPTED)[0, pairs]
    return Shares(total, measured.config.n_resamples, measured.config.seed)


def studied_pairs(measured: Measured, tokenizer: Any) -> StudiedPairs:
    """Those that select."""
    pairs = measured.splits["select"]
    clean, corrupted = (measured.of(what)[0, pairs] for what in (jobs.CLEAN, jobs.CORRUPTED))
    return described(measured.pairs[pairs], clean, corrupted, shares_of(measured, "select"), tokenizer)


def curves(measured: Measured, split: str) -> DenseCurves:
    pairs, shares = measured.splits[split], shares_of(measured, split)
    clean, corrupted = (measured.of(what)[0, pairs] for what in (jobs.CLEAN, jobs.CORRUPTED))

    def curve(what: str) -> list[Any]:
        metrics = (measured.of(what, size)[:, pairs].mean(0) for size in measured.config.sizes)
        return [shares.of(metric - corrupted) for metric in metrics]

    return DenseCurves(
        n=len(clean),
        total=shares.total,
        both_signs=counted(int(((clean > 0) & (corrupted < 0)).sum()), len(clean)),
        faithfulness=curve(jobs.CIRCUIT),
        completeness=curve(jobs.COMPLEMENT),
        random=curve(jobs.RANDOM),
    )


def curve_rows(of_split: dict[str, DenseCurves], sizes: Sequence[int]) -> list[TableRow]:
    """Rows of curves.parquet."""
    return [
        {
            "split": split,
            "curve": name,
            "size": size,
            "share": share.known,
            "share_low": share.low,
            "share_high": share.high,
        }
        for split, one in of_split.items()
        for name in ("faithfulness", "completeness", "random")
        for size, share in zip(sizes, getattr(one, name), strict=True)
    ]


def node_rows(measured: Measured, total: float) -> list[TableRow]:
    """Rows of nodes.parquet: the first of the ranking."""
    pair = measured.pairs[0]
    names = names_of_positions(pair)
    return [
        {
            "rank": rank,
            "kind": kind,
            "layer": layer,
            "unit": unit,
            "pos": pos,
            "position": names.get(pos, ""),
            "role": pair.roles[pos],
            "importance": importance / total,
        }
        for rank, (kind, layer, unit, pos, importance) in enumerate(measured.told["first"])
    ]


def shown_nodes(rows: Sequence[TableRow], tokens: Sequence[str]) -> list[DenseNode]:
    names = ("kind", "layer", "unit", "pos", "importance")
    nodes = []
    for row in rows[:N_NODES_SHOWN]:
        token = tokens[int(row["pos"])]
        nodes.append(DenseNode(**{name: row[name] for name in names}, token=token))
    return nodes


def nulls(measured: Measured, total: float) -> DenseNulls | None:
    """None where there are no null pairs; the largest importance as a share of the real pairs' total."""
    values = next(row["values"] for row in measured.rows if row["what"] == jobs.NULLS)
    return DenseNulls(n=int(values[0]), largest=values[1] / total, n_above=int(values[2])) if values else None


def directions(measured: Measured) -> list[DifferenceDirection]:
    pairs, shares = measured.splits["held_out"], shares_of(measured, "held_out")
    corrupted, measured_directions = measured.of(jobs.CORRUPTED)[0, pairs], []
    for row in (row for row in measured.rows if row["what"] == jobs.DIRECTION):
        values = np.array(row["values"]).reshape(len(row["positions"]), 2, -1)
        for name, (along, whole) in zip(row["positions"], values - corrupted, strict=True):
            measured_directions.append(
                DifferenceDirection(
                    layer=row["layer"], position=name, direction=shares.of(along), whole=shares.of(whole)
                )
            )
    return measured_directions


def direction_rows(measured: Sequence[DifferenceDirection]) -> list[TableRow]:
    """Rows of directions.parquet."""
    return [
        {
            "layer": one.layer,
            "position": one.position,
            "direction": one.direction.known,
            "direction_low": one.direction.low,
            "direction_high": one.direction.high,
            "whole": one.whole.known,
            "whole_low": one.whole.low,
            "whole_high": one.whole.high,
        }
        for one in measured
    ]


def smallest_enough(held_out: DenseCurves, sizes: Sequence[int]) -> int | None:
    """The least of the sizes that keeps enough of held-out pairs, and not too much; None where none does."""
    kept = zip(sizes, held_out.faithfulness, strict=True)
    return next((size for size, share in kept if abs(share.known - 1) <= 1 - ENOUGH), None)


def verdict(enough: int | None, n_nodes: int) -> DenseVerdict:
    return DenseVerdict.FOUND if enough is not None and enough <= FEW * n_nodes else DenseVerdict.NOT_FOUND
