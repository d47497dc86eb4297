"""Phase 3.1 in sentences: its answer to "does it know?", and what its verdicts rest on."""

from __future__ import annotations

from common.handoffs.detection import (
    MEAN_LOGPROB,
    PROBE,
    PROMPT_LENGTH,
    DetectedDirection,
    DetectionDocument,
    Known,
    ProbeLayers,
)
from common.handoffs.verdicts import BeyondDifficulty, DifficultyVerdict, Stability
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


def beyond(found: BeyondDifficulty, what: str, probe: BeyondDifficulty | None = None) -> str:
    """What a score adds to difficulty; beside it what the full probe adds."""
    covariates = listed(found.covariates) or "nothing"
    verdict = f"one cannot tell whether {what} goes beyond difficulty"
    if found.verdict is not DifficultyVerdict.CANNOT_TELL:
        verdict = f"verdict “{found.verdict}”"
    z = "" if found.partial_z is None else f", partial z {number(found.partial_z, 1, signed=True)}"
    words = (
        f"{sentence_case(verdict)}: {what} changes the AUROC of a regression on {covariates}, "
        f"{interval(found.auroc_of_covariates)}, by {interval(found.gain, 3, signed=True)}{z}"
    )
    return words + ("." if probe is None else f"; the full probe changes it by {interval(probe.gain, 3, signed=True)}.")


def _differences(entry: DetectedDirection, probes: ProbeLayers) -> str:
    """Paired, to the probe, the length, and how sure the model was of what it wrote."""
    names = {PROBE: f"the full probe (layer {probes.layer}, chosen on the selection split)"}
    names |= {PROMPT_LENGTH: "the length of the prompt", MEAN_LOGPROB: "the mean log-probability"}
    parts = []
    for name, words in names.items():
        if name in entry.differences:
            found = entry.differences[name]
            when = "" if name == PROBE else f", {_KNOWN[found.known]}"
            own = interval(entry.baselines[name].auroc)
            parts.append(f"{interval(found.auroc, signed=True)} to {words} with {own}{when}")
    return f"Paired differences in AUROC: {'; '.join(parts)}." if parts else ""


def _within(entry: DetectedDirection) -> str:
    within = entry.auroc_within_strata
    return "" if within.value is None else f"Among problems of equal complexity its AUROC is {interval(within)}."


def _in_other_draws(found: Stability) -> str:
    return f"Of {found.draws} other draws of the problems for selection {found.same_latent} choose the same latent."


def stability(found: Stability) -> str:
    return (
        f"Of {found.draws} other draws of the problems for selection {found.same_latent} choose the same latent and "
        f"{found.same_layer} the same layer; where those draws did not select, their latents have an AUROC of "
        f"{interval(found.auroc)}."
    )
