"""Sentences that the log and the report share."""

from common.handoffs.selected import LeftOutLatent, SelectedDirection, SelectedLatent
from common.words import direction_words, latent_words, number


def cost_of_the_filter(name: str, entry: SelectedDirection) -> str | None:
    """What the general-text filter takes away, where a latent that it left out beats the selected one; else None."""
    lost = entry.left_out
    if lost is None or not lost.stronger:
        return None
    ours = f"the selected one has {_strength(entry.latents[0])}" if entry.latents else "none is left to select"
    close = ", within the interval of its rate" if lost.undecided else ""
    return (
        f"{direction_words(name)}: {latent_words(lost)} was left out, because it fires on "
        f"{number(100 * lost.general_text_rate, 1)} % of general text (the limit there is "
        f"{number(100 * lost.limit, 1)} %{close}). It has {_strength(lost)}; {ours}. "
        "To select by another limit: --general-text-limit"
    )


def _strength(latent: SelectedLatent | LeftOutLatent) -> str:
    t = "infinite" if latent.t is None else number(latent.t)
    return f"t {t}, separation {number(latent.separation, 3)} and AUROC {number(latent.auroc, 3)}"
