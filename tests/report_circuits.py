"""Documents of phases 5.3 and later, made by hand in the form that the phases give them, for tests of the report."""

from collections.abc import Callable
from typing import Any

from report_drawings import picture


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
