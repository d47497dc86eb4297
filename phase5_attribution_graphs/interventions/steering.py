"""The top latent by signed effect as a direction: some times its activation is added at the last position.

What is added is its decoder's row in its own layer, whatever its own position is. Below 0 an effect raises the answer.
"""

from collections.abc import Sequence

from common.tables import TableRow
from phase5_attribution_graphs.interventions.ablations import FREELY
from phase5_attribution_graphs.interventions.circuits import Circuit
from phase5_attribution_graphs.interventions.measuring import Meter
from phase5_attribution_graphs.interventions.rows import STEER, effect_row
from phase5_attribution_graphs.replacement.interventions import Add, Change
from phase5_attribution_graphs.replacement.transcoders import Transcoder

TOP_LATENT = "top_latent"


def steered(
    circuit: Circuit, meter: Meter, transcoders: Sequence[Transcoder | None], coefficients: Sequence[float]
) -> list[TableRow]:
    top = circuit.latents[circuit.top_signed[:1]]
    [(layer, pos, latent)] = top.places()
    transcoder = transcoders[layer]
    assert transcoder is not None  # a layer without one has no latents
    direction = float(top.activation[0]) * transcoder.W_dec[latent]
    last = circuit.graph.n_pos - 1
    effects = meter.effects([Change(adds=(Add(layer, last, factor * direction),)) for factor in coefficients])
    place = {"layer": layer, "pos": pos, "latent": latent}
    return [
        effect_row(STEER, TOP_LATENT, FREELY, 1, effects, number, meter.baseline, coefficient=factor, **place)
        for number, factor in enumerate(coefficients)
    ]
