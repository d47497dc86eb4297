"""One figure: what the named latents take from each prompt's difference, beside sets that match them."""

from collections.abc import Mapping

import numpy as np

from common.handoffs.circuit_interventions import InterventionsDocument
from common.plots import BLUE, GREY, new_figure, png_bytes
from phase5_attribution_graphs.interventions.circuits import TOP_SIGNED
from phase5_attribution_graphs.interventions.summary import COMPARED, Evidence

CAPTIONS = {
    "effects": (
        "Latents that graphs name, beside latents that match them",
        "Horizontal: prompts, in the order of their effect. Vertical: what the logit difference loses when the top by "
        "signed effect are set to zero. Blue: they. Grey: random sets of the same layers, positions and activations, a "
        "point for each; lines: the whole difference.",
    ),
}


def effects_beside_nulls(evidence: Mapping[str, Evidence], document: InterventionsDocument) -> bytes:
    """A row for each behaviour."""
    with new_figure(7, 1.9 * len(evidence), n_rows=len(evidence)) as (figure, axes):
        for axis, (behaviour, of_behaviour) in zip(np.atleast_1d(axes), evidence.items(), strict=True):
            rows = [row for row in of_behaviour.effects if row["set"] == TOP_SIGNED and row["rank"] > 0]
            assert {row["intervention"] for row in rows} == {COMPARED[TOP_SIGNED]}
            effects, null = np.array([row["effect"] for row in rows]), of_behaviour.nulls[TOP_SIGNED]
            order = np.argsort(-effects, kind="stable")
            places = np.arange(len(order))
            across = np.repeat(places, null.shape[1])
            axis.scatter(across, null[order].ravel(), s=4, color=GREY, alpha=0.25, linewidths=0)
            axis.scatter(places, of_behaviour.column("baseline")[order], s=60, marker="_", color="black", linewidths=1)
            axis.scatter(places, effects[order], s=16, color=BLUE, linewidths=0, zorder=3)
            axis.axhline(0, color="black", linewidth=0.6)
            axis.set(xticks=[], ylabel="logits")
            axis.set_title(f"{behaviour}: {document.behaviours[behaviour].sets[TOP_SIGNED].verdict}", loc="left")
        return png_bytes(figure)
