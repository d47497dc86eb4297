"""Figures for pages that are made by hand (see report_data.py)."""

from functools import cache

from common.plots import new_figure, png_bytes, svg_bytes


@cache
def drawing(name: str) -> bytes:
    """A figure as the phases draw it: with curves, clips, text and powers of ten; and a script, as nobody draws it."""
    with new_figure(6, 3, n_columns=3) as (figure, (axis, *others)):
        axis.fill_between([0, 1], [0, 0.5], [0.2, 1], alpha=0.2)
        axis.plot([0, 1], [0, 1], label="latent")
        axis.set(xlabel="false positive rate", ylabel="true positive rate")
        axis.set_yscale("symlog", linthresh=0.01)
        axis.legend()
        for other in others:
            other.imshow([[0.0, 1.0], [1.0, 0.0]])
        return svg_bytes(figure, name).replace(b"</svg>", b"<script>top.ran = 3</script></svg>")


@cache
def picture() -> bytes:
    with new_figure(4, 3) as (figure, axis):
        axis.plot([0, 1], [0, 1])
        return png_bytes(figure)
