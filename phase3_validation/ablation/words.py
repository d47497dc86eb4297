"""The sentences and tables that the report shows of phase 3.7, made from prompt_ablation.json's numbers."""

from common.handoffs.changes import AblatedDirection, AblationDocument, Cell, ResultTable, UnderPrompt
from common.handoffs.estimates import Interval
from phase3_validation.ablation.config import NONE

WITHOUT = {
    "no_tests": "Without its tests",
    "name_only": "With nothing but the function's name in the place of its tests",
    "shuffled_tests": "With another problem's tests, called under the own function's name,",
    "no_description": "Without its description",
}


def sentences(result: AblationDocument) -> list[str]:
    """What was found, one sentence for each ablation and direction."""
    found = [_whole_prompt(result)]
    for name, entry in result.ablations.items():
        if name != NONE:
            found.append(_programs(name, entry))
        if name in ("no_tests", "name_only"):
            found.append(_names(name, entry))
    return [*found, *(_latent(name, entry) for name, entry in result.directions.items())]


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
    columns = ["prompt", "pass rate", "difference to none", "gained", "lost", "McNemar p, Holm",
               "define the tested name", "pass rate of these"]  # fmt: skip
    made = [ResultTable(title="Programs under each prompt", columns=columns, rows=rows)]
    for direction, found in result.directions.items():
        latent = found.latent
        rows = [
            [name, number(one.mean), number(one.change), number(one.change_in_sd, "+.2f"), number(one.auroc, ".3f")]
            for name, one in found.ablations.items()
        ]
        title = f"{direction}: activation of layer {latent.layer}, latent {latent.latent}"
        columns = ["prompt", "mean", "change", "change in standard deviations", "AUROC for incorrect"]
        made.append(ResultTable(title=title, columns=columns, rows=rows))
    return made


def percent(share: Interval) -> str:
    """'56.1 % (51.1 to 61.0)'."""
    if share.value is None:
        return "none judged"
    shown = share.times(100)
    return f"{shown.value:.1f} % ({shown.low:.1f} to {shown.high:.1f})"


def points(change: Interval | None) -> str:
    """'-12.0 points (-16.1 to -8.0)'; empty for what is compared with itself."""
    if change is None or change.value is None:
        return ""
    shown = change.times(100)
    return f"{shown.value:+.1f} points ({shown.low:+.1f} to {shown.high:+.1f})"


def number(found: Interval | None, spec: str = ".3g") -> str:
    if found is None or found.value is None:
        return ""
    value, low, high = (format(each, spec) for each in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


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


def _latent(name: str, found: AblatedDirection) -> str:
    latent, moved = found.latent, []
    for ablation, entry in found.ablations.items():
        change = entry.change_in_sd
        if change is not None and change.value is not None:
            moved.append(f"{ablation} {number(change, '+.2f')}")
    where = f"The latent of {name} (layer {latent.layer}, latent {latent.latent})"
    if not moved:
        return f"{where} has the same activation on every problem, so how far it moves has no unit."
    return f"{where} moves, in standard deviations of its activation under the whole prompt: {'; '.join(moved)}."
