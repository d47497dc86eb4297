"""What is told of nodes and latents, from the records of all shapes: errors, templates, how selective.

A latent is named after the error in whose programs it is largest on average, on the pairs that select; how well it
tells that error is measured on pairs of other words. Two programs of a pair have most words in common, so resamples are
of pairs, never of programs.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.evaluation import metrics
from common.evaluation.bootstrap import draws_of_problems, interval
from common.handoffs.error_nodes import (
    DescribedLatent,
    ErrorNode,
    KindOfLatent,
    KindSelectivity,
    LatentNode,
    NodesOfContrast,
    TemplateOfLatent,
    ToldNode,
)
from common.handoffs.estimates import Interval
from common.tables import TableRow
from phase6_error_circuits.estimates import token_labels
from phase6_error_circuits.latents.shares import share
from phase6_error_circuits.nodes.reading import ARMS
from phase6_error_circuits.nodes.told import SHAPE, Group, NodesPlan, ToldContrast
from phase6_error_circuits.pair import REPORT, SELECT

NUMBERS_AT_ONCE = 2_000_000  # of resamples of programs: 16 MB
Record = Mapping[str, Any]  # what reading.py says of a group


@dataclass(frozen=True)
class Peaks:
    """A latent's largest activation in every program that was read in one format, program by program."""

    values: np.ndarray
    errors: np.ndarray
    splits: np.ndarray
    pairs: np.ndarray
    templates: np.ndarray

    def where(self, mask: np.ndarray) -> Peaks:
        return Peaks(*(values[mask] for values in vars(self).values()))


@dataclass(frozen=True)
class Read:
    """A group with its record."""

    group: Group
    found: Record

    @property
    def template(self) -> tuple[str, str]:
        return self.group.shape.contrast, self.group.shape.template

    @property
    def n_select(self) -> int:
        return len(self.group.shape.select)


def activation_rows(plan: NodesPlan, results: Sequence[Record]) -> list[TableRow]:
    """Rows of activations.parquet."""
    rows = []
    for group, one in zip(plan.groups, results, strict=True):
        shape = {name: getattr(group.shape, name) for name in SHAPE}
        for (layer, latent), peaks in zip(plan.latents(group.shape.format), one["peaks"], strict=True):
            by_kind: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
            for (_, split, _, error), peak in zip(one["programs"], peaks, strict=True):
                by_kind[split, error].append(peak)
            for (split, error), peaks_of in sorted(by_kind.items()):
                known = {"n": len(peaks_of), "fires": sum(peak > 0 for peak in peaks_of)}
                known |= {"mean": float(np.mean(peaks_of)), "largest": max(peaks_of)}
                rows.append({"layer": layer, "latent": latent, **shape, "split": split, "error": error, **known})
    return rows


def described(plan: NodesPlan, results: Sequence[Record], n_resamples: int, seed: int) -> list[DescribedLatent]:
    """Each latent in each format; what it writes is left open."""
    told = []
    for form in dict.fromkeys(group.shape.format for group in plan.groups):
        every = [Read(*both) for both in zip(plan.groups, results, strict=True) if both[0].shape.format == form]
        for number, (layer, latent) in enumerate(plan.latents(form)):
            peaks, templates = _peaks(every, number), _templates(every, number)
            places = sum((Counter(one.found["places"][number]) for one in every), Counter())
            told.append(
                DescribedLatent(
                    layer=layer,
                    latent=latent,
                    format=form,
                    n=len(peaks.values),
                    fires=int((peaks.values > 0).sum()),
                    largest=float(peaks.values.max()),
                    places=dict(places.most_common()),
                    kinds=_kinds(every, peaks, number),
                    selective=selectivity(peaks, n_resamples, seed),
                    templates=templates,
                    spread=effective_number([one.share for one in templates if one.share is not None]),
                    promotes=None,
                    suppresses=None,
                    url=None,
                )
            )
    return told


def _peaks(every: Sequence[Read], number: int) -> Peaks:
    values, errors, splits, pairs, templates = [], [], [], [], []
    for place, one in enumerate(every):
        for (pair, split, _, error), peak in zip(one.found["programs"], one.found["peaks"][number], strict=True):
            values.append(peak)
            errors.append(error)
            splits.append(split)
            pairs.append(f"{place} {pair}")
            templates.append(" ".join(one.template))
    return Peaks(*map(np.array, (values, errors, splits, pairs, templates)))


def _kinds(every: Sequence[Read], peaks: Peaks, number: int) -> dict[str, KindOfLatent]:
    added: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for one in every:
        if one.found["effects"] is not None:
            for arm, by_latent in zip(ARMS, one.found["effects"]["added"], strict=True):
                error = getattr(one.group.shape.example, f"{arm}_error")
                added[error].append((by_latent[number], one.n_select))
    told = {}
    for error in sorted({*peaks.errors.tolist()}):
        its_peaks = peaks.values[peaks.errors == error]
        fires, known = float((its_peaks > 0).mean()), _mean(added[error])
        told[error] = KindOfLatent(n=len(its_peaks), mean=float(its_peaks.mean()), fires=fires, added=known)
    return told


def _templates(every: Sequence[Read], number: int) -> list[TemplateOfLatent]:
    """Means over the pairs of all shapes of a template."""
    groups: defaultdict[tuple[str, str], list[Read]] = defaultdict(list)
    for one in every:
        groups[one.template].append(one)
    told = []
    for (contrast, template), reads in groups.items():
        by_arm: defaultdict[str, list[float]] = defaultdict(list)
        for one in reads:
            for (_, _, arm, _), peak in zip(one.found["programs"], one.found["peaks"][number], strict=True):
                by_arm[arm].append(peak)
        measured = [one for one in reads if one.found["effects"] is not None]
        effect = _mean((sum(arm[number] for arm in one.found["effects"]["added"]), one.n_select) for one in measured)
        clean, corrupted = (by_arm[arm] for arm in ARMS)
        told.append(
            TemplateOfLatent(
                contrast=contrast,
                template=template,
                n=len(clean),
                clean=float(np.mean(clean)),
                corrupted=float(np.mean(corrupted)),
                effect=effect,
                share=None if effect is None else share(effect, _whole(measured)),
            )
        )
    return told


def selectivity(peaks: Peaks, n_resamples: int, seed: int) -> KindSelectivity | None:
    """Of the error chosen on the pairs that select, on held-out pairs; None where there is nothing to choose or tell.

    A latent that is silent in all programs that select has no error.
    """
    select, report = (peaks.where(peaks.splits == split) for split in (SELECT, REPORT))
    means = {error: select.values[select.errors == error].mean() for error in sorted({*select.errors.tolist()})}
    if len(means) < 2 or max(means.values()) == 0:
        return None
    error = max(means, key=lambda name: means[name])
    positive = report.errors == error
    if positive.all() or not positive.any():
        return None
    numbers = np.unique(report.pairs, return_inverse=True)[1]
    draws = draws_of_problems(numbers.max() + 1, n_resamples, seed)
    together = np.zeros(len(report.values), dtype=int)
    return KindSelectivity(
        error=error,
        n=int(positive.sum()),
        others=int((~positive).sum()),
        auroc=_auroc(report.values, positive, together, numbers, draws),
        within=_auroc(report.values, positive, np.unique(report.templates, return_inverse=True)[1], numbers, draws),
    )


def _auroc(
    values: np.ndarray, positive: np.ndarray, strata: np.ndarray, numbers: np.ndarray, draws: np.ndarray
) -> Interval:
    """Of two programs of one stratum, one of them positive: the share in the right order.

    `numbers` are those of the pairs that `draws` draws.
    """
    parts = np.array_split(draws, max(1, len(draws) * len(values) // NUMBERS_AT_ONCE))
    known = []
    for weight in itertools.chain([np.ones((1, len(values)))], (part[:, numbers] for part in parts)):
        won, of = np.zeros(len(weight)), np.zeros(len(weight))
        for stratum in range(strata.max() + 1):
            inside = strata == stratum
            drawn = weight[:, inside]
            both = metrics.pairs_won(values[inside], drawn * positive[inside], drawn * ~positive[inside])
            won, of = won + both[0], of + both[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            known.append(won / of)
    return interval(known[0][0], np.concatenate(known[1:]))


def told_nodes(plan: NodesPlan, one: ToldContrast, results: Sequence[Record], tokenizer: Any) -> NodesOfContrast:
    """The nodes of a contrast, with what stands there and what they are worth on each template of their contrast."""
    shape = one.shape
    every = [Read(*both) for both in zip(plan.groups, results, strict=True)]
    home = next(read for read in every if plan.home_of(read.group) is one)
    alike = [read for read in every if read.group.shape.format == shape.format and read.found["effects"] is not None]
    alike = [read for read in alike if read.group.shape.contrast == shape.contrast]
    labels, places = token_labels(shape.example, tokenizer), plan.places(shape.format)
    nodes = []
    for node, known in zip(one.nodes, home.found["nodes"], strict=True):
        latent = node.at.latent
        nodes.append(
            ToldNode(
                layer=node.at.layer,
                position=node.position,
                place=node.at.place,
                token=labels[node.position],
                effect=node.effect,
                share=share(node.effect, one.effect),
                above_null=node.above_null,
                what=ErrorNode(**known) if latent is None else LatentNode(latent=latent, **known),
                templates=_by_template(alike, places.index(node.at)),
            )
        )
    counts = {"source": one.source, "of": one.of, "effect": one.effect, "nodes": nodes}
    return NodesOfContrast(**{name: getattr(shape, name) for name in SHAPE}, **counts)


def _by_template(every: Sequence[Read], number: int) -> dict[str, float | None]:
    """A node's share of the effect at the place of its name, by template; over the shapes that have the place."""
    told: dict[str, float | None] = {}
    for template in dict.fromkeys(one.group.shape.template for one in every):
        reads = [one for one in every if one.group.shape.template == template]
        having = [one for one in reads if one.found["effects"]["at_place"][number] is not None]
        effect = _mean((one.found["effects"]["at_place"][number], one.n_select) for one in having)
        told[template] = None if effect is None else share(effect, _whole(having))
    return told


def _whole(every: Iterable[Read]) -> float:
    """The whole effect, mean over the pairs that select."""
    return _mean((one.found["effects"]["whole"], one.n_select) for one in every) or 0.0


def _mean(parts: Iterable[tuple[float, int]]) -> float | None:
    """The mean of means, each with the number of pairs that it is of; None of none."""
    known = [*parts]
    n = sum(of for _, of in known)
    return sum(value * of for value, of in known) / n if n else None


def effective_number(shares: Sequence[float]) -> float | None:
    """How many equal parts would be as uneven: (sum of |x|)^2 / sum of x^2.

    Of shares, since the whole effect of one template may be many times that of another. None where all are nothing, or
    where there are fewer than two, which cannot be uneven.
    """
    sizes = np.abs(shares)
    return None if len(sizes) < 2 else share(float(sizes.sum() ** 2), float((sizes**2).sum()))
