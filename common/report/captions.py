"""What each figure is, and what is on its axes, in the order of the page."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from common.words import direction_words, sentence_case, title_of

_AUROC_F1 = "AUROC (circles) and F1 (squares) with 95 % intervals; dotted: chance for the AUROC"


@dataclass(frozen=True)
class Caption:
    """A figure's title, its axes in words, and its place among those of its phase."""

    title: str
    axes: str
    place: int = 0


_CAPTIONS: dict[str, dict[str, tuple[str, str]]] = {  # artifact -> pattern of the file's stem -> title, axes
    "temperature_samples": {
        "pass_rate_by_temperature": (
            "Pass rate by sampling temperature",
            "Horizontal: sampling temperature. Vertical: share of samples that pass, 95 % intervals over problems.",
        ),
    },
    "latents": {
        "null_maximum": (
            "The largest |t| by chance, and the one observed",
            "Horizontal: largest |t| of all ranked latents. Vertical: permutations of the labels. Dashed: the line "
            "below which 95 % of the permutations stay; solid: what was observed.",
        ),
        "volcano": (
            "Every ranked latent",
            "Horizontal: share of correct problems on which a latent fires minus that of incorrect ones. Vertical: "
            "−log10 of its own p. Selected latents are named by layer and number.",
        ),
        "by_layer": (
            "Separation and t by layer",
            "Horizontal: layer. Vertical: quantiles of |separation| (left) and of |t| (right) of the ranked latents.",
        ),
        "activations": (
            "Activations of the selected latents",
            "Horizontal: activation, in the SAE's units. Vertical, logarithmic: share of the correct and of the "
            "incorrect problems.",
        ),
    },
    "detection": {
        "baselines": (
            "AUROC of the latent and of simpler scores",
            "Horizontal: AUROC on the validation split with its 95 % interval; dotted: chance; grey: the middle 90 % "
            "of random latents of the layer. Vertical: scores.",
        ),
        "roc": (
            "True against false positives",
            "Horizontal: share of negative programs called positive. Vertical: share of positive programs called so. "
            "The band is a 95 % interval of the latent; dotted: chance.",
        ),
        "precision_recall": (
            "Precision against recall",
            "Horizontal: recall. Vertical: precision. The band is a 95 % interval of the latent; dotted: base rate.",
        ),
        "f1_by_threshold": (
            "F1 by threshold",
            "Horizontal: threshold on the activation; dotted: the one chosen on the problems for tuning. Vertical: F1 "
            "on the validation split; dashed: always saying positive.",
        ),
        "by_difficulty": ("Detection by difficulty", f"Horizontal: complexity of the problem. Vertical: {_AUROC_F1}."),
        "by_temperature": (
            "Detection by sampling temperature", f"Horizontal: temperature, 0 is greedy. Vertical: {_AUROC_F1}.",
        ),
        "reliability": (
            "Calibration",
            "Horizontal: probability fitted on the problems for tuning. Vertical: share of positive programs on the "
            "validation split; on the dotted line both agree.",
        ),
    },
    "coefficients": {
        "dose_response_*": (
            "Dose and response of {}",
            "Horizontal: coefficient. Vertical: net change of the pass rate with 95 % intervals (left), newly "
            "degenerate outputs (middle; dotted: the limit), median KL divergence of the first token (right). Hollow "
            "points cannot be chosen.",
        ),
    },
    "steering": {
        "among_controls_*": (
            "{} among its controls",
            "Left, horizontal: net change of the pass rate; with its 95 % interval for the direction, one mark for "
            "each control. Right: the same, upwards, against the median KL divergence of the first token.",
        ),
        "dose_response_*": (
            "Dose and response of {}, with what validation says",
            "As in phase 3.2; the star is the chosen coefficient on the validation split, the bars beside it the range "
            "of its controls.",
        ),
        "transitions_*": (
            "What became of the programs under {}",
            "Rows: without steering. Columns: steered. Cells: programs and their share.",
        ),
    },
    "attention": {
        "by_layer": (
            "Change of attention by layer",
            "Horizontal: layer. Vertical: change of the last prompt token's attention to each section, in points, mean "
            "over heads, with 95 % intervals over problems. The first token, BOS or a word, draws attention whatever "
            "it says, and is a section of its own.",
        ),
        "by_head": (
            "Change of attention by head",
            "Horizontal: head. Vertical: layer. Colour: change of attention to the section, in points.",
        ),
    },
    "orthogonalisation": {
        "orthogonalisation": (
            "The model without each direction, and without each matched latent",
            "Horizontal: net change of the pass rate, in points; with its 95 % interval for the direction. Vertical: "
            "what was taken away.",
        ),
    },
    "transfer": {
        "transfer": (
            "Both models side by side",
            "Left, horizontal: AUROC of each latent; line: chance. Right, horizontal: net change of the pass rate, in "
            "points. Circles: the first model; squares: the other; 95 % intervals. Vertical: directions.",
        ),
    },
    "prompt_ablation": {
        "prompt_ablation": (
            "Programs and latents under each prompt",
            "Vertical: prompts. Horizontal: pass rate (left; dotted: the whole prompt), change of the latents' "
            "activations in standard deviations (right); 95 % intervals.",
        ),
    },
}  # fmt: skip


def caption_of(artifact: str, stem: str) -> Caption:
    """The caption of a figure of an artifact, by its file's name without ending; a plain one where none is known.

    What a pattern's * stands for is a direction, which takes the place of {} in the title.
    """
    known = _CAPTIONS.get(artifact, {})
    for place, (pattern, (title, axes)) in enumerate(known.items()):
        if fnmatchcase(stem, pattern):
            title = sentence_case(title.format(direction_words(stem.removeprefix(pattern.rstrip("*")))))
            return Caption(title, axes, place)
    return Caption(title_of(stem), "Its axes are labelled in the drawing.", len(known))
