"""One figure: what transcoders leave unexplained, layer by layer."""

from common.handoffs.circuit_latents import CircuitLatentsDocument, LastFit
from common.plots import COLOURS, GREY, new_figure, png_bytes, whole_numbers

CAPTIONS = {
    "transcoder_fit": (
        "What the transcoders leave unexplained",
        "Horizontal: layers. Vertical: fraction of the variance of the MLP's output that the transcoder leaves "
        "unexplained, on general text, at the last position of all prompts together, and within each behaviour "
        "(broken). Dotted: 1, where the mean would do as well.",
    ),
}


def draw(document: CircuitLatentsDocument) -> bytes:
    layers = {int(layer): fit for layer, fit in document.layers.items()}
    places = list(layers)
    with new_figure(6.4, 3.6) as (figure, axis):
        on_text = [fit.text.fvu for fit in layers.values()]
        axis.plot(places, on_text, color="black", marker="o", markersize=4, label="general text")
        pooled = [fit.last for fit in layers.values()]
        axis.plot(places, _values(pooled), color=GREY, marker="s", markersize=4, label="last position, all prompts")
        for number, behaviour in enumerate(document.prompts):
            values = _values([fit.behaviours[behaviour] for fit in layers.values()])
            colour = COLOURS[number % len(COLOURS)]
            axis.plot(places, values, color=colour, linestyle="--", marker=".", label=behaviour)
        axis.axhline(1, color=GREY, linestyle=":", linewidth=1)
        axis.set(xlabel="layer", ylabel="unexplained", yscale="log")
        whole_numbers(axis.xaxis)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return png_bytes(figure)


def _values(fits: list[LastFit]) -> list[float]:
    return [float("nan") if fit.fvu is None else fit.fvu for fit in fits]
