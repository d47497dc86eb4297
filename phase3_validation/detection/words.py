"""Phase 3.1 in sentences: its answer to "does it know?", and what its verdicts rest on."""

from __future__ import annotations

from common.handoffs.detection import (
    COMPLEXITY,
    MEAN_LOGPROB,
    PROBE,
    DetectedDirection,
    DetectionDocument,
    Known,
    ProbeLayers,
)
from common.handoffs.score_verdicts import BeyondDifficulty, DifficultyVerdict, Stability
from common.words import (
    count,
    direction_words,
    interval,
    latent_words,
    listed,
    number,
    p_value,
    sentence_case,
)

_KNOWN = {
    Known.BEFORE: "known before a token is written",
    Known.AFTER: "known only after the program is written",
}


def answer(result: DetectionDocument) -> str:
    """Does the model know? What the direction says that the sae split chose, beside what needs no dictionary."""
    headline = result.headline
    if headline is None:
        return "No predicting direction could be judged on the validation split."
    name, entry = headline
    sentences = [_ranking(name, entry), beyond(entry.beyond_difficulty, "it", entry.probe_beyond_difficulty)]
    sentences += [_differences(entry, result.probes), _within(entry), _in_other_draws(entry.stability)]
    return " ".join(sentence for sentence in sentences if sentence)


def _ranking(name: str, entry: DetectedDirection) -> str:
    t = "no finite t" if entry.latent.t is None else f"|t| = {number(abs(entry.latent.t))}"
    return (
        f"{sentence_case(direction_words(name))} ({latent_words(entry.latent)}), chosen on the selection split "
        f"({t}, family-wise p {p_value(entry.latent.p_max)}), has an AUROC of {interval(entry.card.auroc)} for "
        f"{entry.positive} programs on {count(entry.card.n)} validation problems: verdict “{entry.verdict}”"
        f"{entry.power.beside(entry.verdict)}."
    )


def beyond(gained: BeyondDifficulty, what: str, probe: BeyondDifficulty | None = None) -> str:
    """What a score adds to difficulty; beside it what the full probe adds."""
    covariates = listed(gained.covariates) or "nothing"
    verdict = f"one cannot tell whether {what} goes beyond difficulty"
    if gained.verdict is not DifficultyVerdict.CANNOT_TELL:
        verdict = f"verdict “{gained.verdict}”"
    z = "" if gained.partial_z is None else f", partial z {number(gained.partial_z, 1, signed=True)}"
    words = (
        f"{sentence_case(verdict)}: {what} changes the AUROC of a regression on {covariates}, "
        f"{interval(gained.auroc_of_covariates)}, by {interval(gained.gain, 3, signed=True)}{z}"
    )
    return words + ("." if probe is None else f"; the full probe changes it by {interval(probe.gain, 3, signed=True)}.")


def _differences(entry: DetectedDirection, probes: ProbeLayers) -> str:
    """Paired, to the probe, the strongest score that needs no model, and how sure the model was of its program."""
    names = {PROBE: f"the full probe (layer {probes.layer}, chosen on the selection split)"}
    areas = {name: card.auroc for name, card in entry.baselines.items() if name in entry.beyond_difficulty.covariates}
    if measured := [name for name, area in areas.items() if area.value is not None]:
        strongest = max(measured, key=lambda name: areas[name].known)
        names[strongest] = f"the strongest of these alone, {strongest},"
    names[MEAN_LOGPROB] = "the mean log-probability"
    parts = []
    for name, words in names.items():
        if name in entry.differences:
            difference = entry.differences[name]
            when = "" if name == PROBE else f", {_KNOWN[difference.known]}"
            of_other = interval(entry.baselines[name].auroc)
            parts.append(f"{interval(difference.auroc, signed=True)} to {words} with {of_other}{when}")
    return f"Paired differences in AUROC: {'; '.join(parts)}." if parts else ""


def _within(entry: DetectedDirection) -> str:
    within = entry.auroc_within_strata
    if within.value is None:
        return ""
    areas = {name: area for name, area in entry.auroc_within.items() if area.value is not None and name != COMPLEXITY}
    lowest = min(areas, key=lambda name: areas[name].known, default=None)
    below = (
        ""
        if lowest is None or areas[lowest].known > within.value
        else f"; at equal {lowest}, where it is lowest, {interval(areas[lowest])}"
    )
    return f"Among problems of equal complexity its AUROC is {interval(within)}{below}."


def _in_other_draws(drawn: Stability) -> str:
    return f"Of {drawn.draws} other draws of the problems for selection {drawn.same_latent} choose the same latent."


def stability(drawn: Stability) -> str:
    return (
        f"Of {drawn.draws} other draws of the problems for selection {drawn.same_latent} choose the same latent and "
        f"{drawn.same_layer} the same layer; where those draws did not select, their latents have an AUROC of "
        f"{interval(drawn.auroc)}."
    )
