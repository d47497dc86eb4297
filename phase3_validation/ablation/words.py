"""The sentences and tables that the report shows of phase 3.7, made from prompt_ablation.json's numbers."""

from common.handoffs.changes import AblatedDirection, AblationDocument, Cell, ResultTable, UnderPrompt
from common.handoffs.estimates import Interval
from common.words import direction_words, listed, names_of_latents, with_bounds
from phase3_validation.ablation.config import NONE

FAR = 1.0  # standard deviations that a latent must move where the change has no interval

WITHOUT = {
    "no_tests": "Without its tests",
    "name_only": "With nothing but the function's name in the place of its tests",
    "shuffled_tests": "With another problem's tests, called under the own function's name,",
    "no_description": "Without its description",
}


def sentences(result: AblationDocument) -> list[str]:
    """What was found, one sentence for each ablation and for each latent, whatever its roles."""
    words = [_whole_prompt(result)]
    for name, entry in result.ablations.items():
        if name != NONE:
            words.append(_programs(name, entry))
        if name in ("no_tests", "name_only"):
            words.append(_names(name, entry))
    roles = names_of_latents((name, ablated.latent) for name, ablated in result.directions.items())
    return [*words, *(_latent(names, result.directions[names[0]]) for names in roles.values())]


def against_the_programs(result: AblationDocument) -> list[str]:
    """A sentence for each predicting direction whose latent goes one way where the programs go the other.

    Prompts under which most programs are of another function say nothing of that.
    """
    words = []
    for name, entry in result.directions.items():
        sign = 1 if entry.positive == "correct" else -1
        moved = [
            _apart(ablation, one.change_in_sd, difference)
            for ablation, one in entry.ablations.items()
            if name.startswith("predict") and not _of_other_functions(result.ablations[ablation])
            if (difference := result.ablations[ablation].difference) is not None
            if one.change_in_sd is not None and sign * _side(one.change_in_sd, FAR) * _side(difference) < 0
        ]
        if moved:
            words.append(
                f"The mean of {direction_words(name)}, which speaks for {entry.positive} programs, goes the wrong way "
                f"when the prompt is changed: {'; '.join(moved)}."
            )
    return words


def form_of_the_prompt(result: AblationDocument) -> list[str]:
    """Where most programs under a prompt are of another function: a pass rate then says little of the problem."""
    few = [
        f"{_lower(WITHOUT[name])} ({entry.named.n} of {entry.named.of} do)"
        for name, entry in result.ablations.items()
        if name != NONE and _of_other_functions(entry)
    ]
    if not few:
        return []
    return [
        f"Most programs do not define the asked function {listed(few)}. There the pass rate measures what the form of "
        "the prompt does, not how well the problem is solved."
    ]


def _of_other_functions(entry: UnderPrompt) -> bool:
    return 2 * entry.named.n < entry.named.of


def _apart(ablation: str, change: Interval, difference: Interval) -> str:
    """'without its description it rises by 2.47 standard deviations, while the pass rate falls by 45.0 points'."""
    assert change.value is not None and difference.value is not None
    way, rate = ("rises" if each > 0 else "falls" for each in (change.value, difference.value))
    bounds = ""
    if change.low is not None and change.high is not None:  # as of a distance, which has the change's sign in `way`
        low, high = sorted(end if change.value > 0 else -end for end in (change.low, change.high))
        bounds = f" ({low:.2f} to {high:.2f})"
    return (
        f"{_lower(WITHOUT[ablation])} it {way} by {abs(change.value):.2f} standard deviations{bounds}, while the pass "
        f"rate {rate} by {100 * abs(difference.value):.1f} points"
    )


def _side(change: Interval, far: float = 0.0) -> int:
    """1 or -1: on which side of 0 a change clearly lies; 0 where that is open. Without interval it must be `far`."""
    if change.value is None:
        return 0
    low, high = (change.value, change.value) if change.low is None or change.high is None else (change.low, change.high)
    least = far if change.low is None else 0.0
    return (low > least) - (high < -least)


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:].rstrip(",")


def tables(result: AblationDocument) -> list[ResultTable]:
    """One table of the programs, and one for each direction's latent."""
    rows: list[list[Cell]] = [
        [
            name,
            percent(entry.pass_rate),
            points(entry.difference),
            "" if name == NONE else entry.gained,
            "" if name == NONE else entry.lost,
            p_value(entry.mcnemar_p_holm),
            percent(entry.named.rate),
            percent(entry.pass_rate_of_named),
        ]
        for name, entry in result.ablations.items()
    ]
    columns = ["prompt", "pass rate", "difference to the whole prompt", "gained", "lost", "McNemar p, Holm",
               "define the tested name", "pass rate of these"]  # fmt: skip
    made = [ResultTable(title="Programs under each prompt", columns=columns, rows=rows)]
    for direction, ablated in result.directions.items():
        latent = ablated.latent
        rows = [
            [
                name,
                number(one.mean),
                number(one.change),
                number(one.change_in_sd, "+.2f"),
                number(one.auroc if ablated.positive == "incorrect" else one.auroc.of_the_other_label(), ".3f"),
            ]
            for name, one in ablated.ablations.items()
        ]
        title = f"{direction}: activation of layer {latent.layer}, latent {latent.latent}"
        columns = ["prompt", "mean", "change", "change in standard deviations", f"AUROC for {ablated.positive}"]
        made.append(ResultTable(title=title, columns=columns, rows=rows))
    return made


def percent(share: Interval) -> str:
    """'56.1 % (51.1 to 61.0)'."""
    if share.value is None:
        return "none judged"
    return with_bounds(share.times(100), ".1f", " %")


def points(change: Interval | None) -> str:
    """'-12.0 points (-16.1 to -8.0)'; empty for what is compared with itself."""
    if change is None or change.value is None:
        return ""
    return with_bounds(change.times(100), "+.1f", " points")


def number(estimate: Interval | None, spec: str = ".3g") -> str:
    if estimate is None or estimate.value is None:
        return ""
    return with_bounds(estimate, spec)


def p_value(p: float | None) -> str:
    return "" if p is None else f"{p:.2g}"


def _whole_prompt(result: AblationDocument) -> str:
    same = result.agrees_with_phase_1
    return (
        f"With the whole prompt {percent(result.ablations[NONE].pass_rate)} of the {result.n} validation "
        f"problems are solved; {same.same_tokens} of {same.of} programs are those of phase 1, token for token."
    )


def _programs(name: str, entry: UnderPrompt) -> str:
    if entry.difference is None or entry.difference.value is None:
        return f"{WITHOUT[name]}: no program could be compared."
    left_out = f"; {entry.left_out} pairs could not be judged" if entry.left_out else ""
    return (
        f"{WITHOUT[name]} it is {percent(entry.pass_rate)}, a difference of {points(entry.difference)}: "
        f"{entry.gained} of {entry.pairs} problems gained, {entry.lost} lost (exact McNemar, Holm: "
        f"p = {p_value(entry.mcnemar_p_holm)}){left_out}."
    )


def _names(name: str, entry: UnderPrompt) -> str:
    """For the prompts without tests: of what their failures say nothing about the problem."""
    told = {
        "no_tests": "Where the asserts alone tell the function's name, taking them away takes away the name:",
        "name_only": "This prompt tells the name:",
    }[name]
    named = entry.named
    passing = f", and of these {percent(entry.pass_rate_of_named)} pass" if named.n else ""
    return f"{told} {named.n} of {named.of} programs define the function that is tested{passing}."


def _latent(names: list[str], direction: AblatedDirection) -> str:
    latent, moved = direction.latent, []
    for ablation, entry in direction.ablations.items():
        change = entry.change_in_sd
        if change is not None and change.value is not None:
            moved.append(f"{ablation} {number(change, '+.2f')}")
    where = f"The latent of {listed(names)} (layer {latent.layer}, latent {latent.latent})"
    if not moved:
        return f"{where} has the same activation on every problem, so how far it moves has no unit."
    return f"{where} moves, in standard deviations of its activation under the whole prompt: {'; '.join(moved)}."
