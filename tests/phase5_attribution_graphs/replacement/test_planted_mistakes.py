"""Covers the checks of graphs: each planted mistake is seen by verify() or by the pass itself, or is known to be not.

A mistake is made in what was recorded; the interventions run with what is true. `common/saes/site_check.py` sees the
one that no check of a graph can.
"""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from small_graphs import BEHAVIOURS, Traced, held_out_item, organism, organism_traced

from common.errors import ConfigError
from common.handoffs.graphs import Verification
from common.model.hooks import read_sites
from common.saes.encoder import load_sae
from common.saes.site_check import site_fit
from common.saes.sources import transcoder_source
from phase5_attribution_graphs.replacement.clean_run import CleanRun, _check_sums
from phase5_attribution_graphs.replacement.interventions import Interventions
from phase5_attribution_graphs.replacement.local_model import local_model
from phase5_attribution_graphs.replacement.sweep import build_graph
from phase5_attribution_graphs.replacement.verify import RANDOM_BOUND, ROWS_BOUND, STRONGEST_BOUND, verify

ROWS, STRONGEST, RANDOM, SUMS = "rows", "strongest", "random", "sums of the pass"


def good() -> Traced:
    return organism_traced("capitals")


def with_blocks(run: CleanRun, **changes: Callable) -> CleanRun:
    """Some fields of every block changed."""
    blocks = [
        dataclasses.replace(block, **{name: change(getattr(block, name)) for name, change in changes.items()})
        for block in run.blocks
    ]
    return dataclasses.replace(run, blocks=blocks)


MISTAKES = {
    "none": (lambda run: run, set()),
    "post-attention norm forgotten": (
        lambda run: with_blocks(run, post_factor=torch.ones_like),
        {ROWS, STRONGEST, RANDOM, SUMS},
    ),
    "gain w in place of 1 + w": (
        lambda run: with_blocks(run, attn_gain=lambda gain: gain - 1),
        {ROWS, STRONGEST, RANDOM, SUMS},
    ),
    "pattern transposed": (
        lambda run: with_blocks(run, pattern=lambda pattern: pattern.transpose(1, 2).contiguous()),
        {ROWS, RANDOM, SUMS},
    ),
    "MLP read at another point": (
        lambda run: with_blocks(run, mlp_out=lambda wrote: 1.1 * wrote),
        {ROWS, SUMS},
    ),
    "embedding without its factor": (  # none of the strongest edges begins at a token then; of random ones some do
        lambda run: dataclasses.replace(run, embeddings=run.embeddings / 192**0.5),
        {ROWS, RANDOM},
    ),
}


def checked(run: CleanRun, transcoders=None) -> Verification:
    """A graph made of what may be wrong, beside the model under what is true."""
    found = good()
    transcoders = transcoders or found.transcoders
    model = local_model(run, transcoders)
    true_model = local_model(found.run, transcoders)
    graph = build_graph(model, found.targets)
    runner = Interventions(found.lm, found.run, transcoders)
    return verify(graph, dataclasses.replace(true_model, run=found.run), found.targets, runner)


def seen(verified: Verification) -> set[str]:
    off = {
        ROWS: not verified.rows <= ROWS_BOUND,
        STRONGEST: not verified.strongest.largest <= STRONGEST_BOUND,
        RANDOM: not verified.random.largest <= RANDOM_BOUND,
    }
    assert verified.exact != any(off.values())
    return {name for name, is_off in off.items() if is_off}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_seen_by_the_checks_that_can_see_it(name):
    plant, expected = MISTAKES[name]
    run = plant(good().run)
    assert seen(checked(run)) == expected - {SUMS}
    if SUMS in expected:
        with pytest.raises(ConfigError, match="misses what the model computes"):
            _check_sums(run, good().lm)
    else:
        _check_sums(run, good().lm)


def test_dropped_constants_are_seen_by_the_rows_alone():
    """As circuit-tracer drops them: the decoders' biases, and what MLPs write at the first position."""
    found = good()
    model = dataclasses.replace(found.model, constants=torch.zeros_like(found.model.constants))
    graph = build_graph(model, found.targets)
    assert seen(verify(graph, model, found.targets, found.runner)) == {ROWS}


def swapped() -> list:
    """Every layer has the next layer's transcoder, the last the first's."""
    return [*good().transcoders[1:], good().transcoders[0]]


def test_swapped_transcoders_are_as_exact_and_no_check_of_a_graph_sees_them():
    assert seen(checked(good().run, swapped())) == set()


def test_swapped_transcoders_are_seen_by_their_fit_on_text():
    lm, transcoders = organism()
    source = transcoder_source("auto", "organism")
    saes = [load_sae(source, layer) for layer in range(lm.n_layers)]
    found: dict[str, list[torch.Tensor]] = {site: [] for sae in saes for site in (sae.site, sae.site_out)}
    for behaviour in BEHAVIOURS:
        for number in range(6):
            ids = lm.tokenizer(held_out_item(behaviour, number).prompt, return_tensors="pt")["input_ids"]
            with (
                torch.inference_mode(),
                read_sites(lm.model, list(found), lambda site, x: found[site].append(x[0, 1:])),
            ):
                lm.model(input_ids=ids, use_cache=False)
    rows = {site: torch.cat(parts) for site, parts in found.items()}
    for sae, following in zip(saes, saes[1:], strict=False):
        own = site_fit(sae, rows[sae.site], rows[sae.site_out])
        elsewhere = site_fit(sae, rows[following.site], rows[following.site_out])
        assert own.fvu < 0.5 and elsewhere.fvu > 0.9, (sae.layer, own, elsewhere)
