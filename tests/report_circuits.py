"""Documents of phases 5.3 and later, made by hand in the form that the phases give them, for tests of the report."""

from collections.abc import Callable
from typing import Any

from report_drawings import picture
from report_selection import interval


def circuit_latents(hostile: str, n: int) -> Callable[[Any], None]:
    """Fills a run of phase 5.3: one layer that fits badly and loses a behaviour, one without a transcoder."""

    def fill(out: Any) -> None:
        on_text = {"fvu": 0.6, "l0": 40.0, "n": n, "n_massive": 0}
        neighbour = {"layer": 1, "fvu": 2.0, "n_better": 0.0, "n": n}
        at_last = {"fvu": 0.4, "l0": 30.0, "n": n}
        fit = {"id": hostile, "reads": "blocks.0.ln2.hook_normalized", "n_latents": 64, "has_skip": True}
        fit |= {"text": on_text, "fvu_with_massive": 0.7, "published_fvu": 0.1, "published_l0": None, "last": at_last}
        fit |= {"neighbours": [neighbour], "behaviours": {"agreement": at_last | {"fvu": 1.4}}}
        given = {"transcoders": hostile, "positions": "last5", "top_k": 20, "text": hostile, "n_documents": n}
        given |= {"n_described": 30, "accepted": False, "prompts": {"agreement": {"train": 4, "test": 2}}}
        out.document("circuit_latents.json", given | {"layers": {"0": fit}, "without": [1]})
        out.file("figures/transcoder_fit.png", picture())

    return fill


def interventions(hostile: str, n: int) -> Callable[[Any], None]:
    """Fills a run of phase 5.5: an answer that is carried by latents, and one that errors carry."""

    def fill(out: Any) -> None:
        share = {"n": n - 1, "of": n, "rate": interval((n - 1) / n)}
        named = {"effect": interval(1.8), "null": interval(-0.1), "beyond": interval(1.9), "share": interval(0.3)}
        named |= {"first": share, "first_twentieth": share, "p": 0.005, "p_holm": 0.01}
        sets = {name: named for name in ("top_signed_effect", "top_influence")}
        change = {what: {"nothing": interval(1.8), "attention and norms": interval(2)} for what in ("zero", "inhibit")}
        patched = {"n": 2, "refused": {"unequal length": 1, "no partner": 3}, "back": interval(0.4)}
        patched |= {"moved": {"all": interval(0.7), "kept": interval(0.4)}}
        correlations = ("influence_and_size", "signed_and_effect", "signed_and_frozen", "frozen_and_free")
        one = {"n": n, "baseline": interval(5.3), "same_token": share, "important": share, "patched": patched}
        one |= {"sets": {name: {**each, "verdict": "carried by these latents"} for name, each in sets.items()}}
        one |= {"changes": {name: change for name in sets}, "steered": {"-2": interval(0.2), "2": interval(-0.2)}}
        one |= {"correlations": {name: interval(0.8) for name in correlations}, "faithfulness": interval(0.8)}
        worse = {**one, "errors_direct": interval(0.9), "activation_ratio": interval(0.3)}
        worse |= {"sets": {name: {**each, "verdict": "cannot tell"} for name, each in sets.items()}}
        given = {"n": 2 * n, "n_nulls": 199, "set_size": 10, "inhibit": 1.0, "seed": 456}
        out.document("interventions.json", given | {"behaviours": {"agreement": one, hostile: worse}})
        out.file("figures/effects.png", picture())

    return fill
