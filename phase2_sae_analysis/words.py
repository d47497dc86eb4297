"""Sentences that the log and the report share."""

from common.handoffs.selected import LeftOutLatent, SelectedDirection, SelectedLatent
from common.words import direction_words, latent_words, number


def cost_of_the_filter(name: str, entry: SelectedDirection) -> str | None:
    """What the general-text filter takes away, where a latent that it left out beats the selected one; else None."""
    lost = entry.left_out
    if lost is None or not lost.stronger:
        return None
    ours = "none is left to select"
    if entry.latents:
        ours = f"the selected one, the first that passes this filter, has {_strength(name, entry.latents[0])}"
    close = ", within the interval of its rate" if lost.undecided else ""
    return (
        f"{direction_words(name)}: {latent_words(lost)} was left out, because it fires on "
        f"{number(100 * lost.general_text_rate, 1)} % of general text (the limit there is "
        f"{number(100 * lost.limit, 1)} %{close}): what fires on much ordinary text is not specific to "
        f"code. It has {_strength(name, lost)}; {ours}. To select by another limit: --general-text-limit"
    )


def for_its_label(direction: str, auroc: float | None) -> float | None:
    """The AUROC of a direction's latent in its own favour; of every latent that for incorrect programs is stored."""
    return auroc if auroc is None or direction.endswith("_incorrect") else 1 - auroc


def _strength(name: str, latent: SelectedLatent | LeftOutLatent) -> str:
    t = "infinite" if latent.t is None else number(latent.t)
    area = number(for_its_label(name, latent.auroc), 3)
    return f"t {t}, separation {number(latent.separation, 3)} and AUROC {area} on the problems that select"
