"""What a reader must know before believing a number: what is missing, was left out, or came near a limit."""

from collections import Counter
from typing import Any

from common.handoffs import COEFFICIENTS, DETECTION, GENERATIONS, LATENTS, SPLIT, STEERING, TEMPERATURE
from common.report.blocks import Block, Commands, Paragraph, Section
from common.report.collect import DAMAGED, FINISHED, MISSING, STALE, UNFINISHED, Collected, PhaseResult
from common.report.detection import PROBE
from common.report.runs import (
    code_words,
    codes_of,
    isolation_words,
    phases_words,
    processes,
    sandboxes_of,
    share_words,
    versions_of,
)
from common.words import count, direction_words, listed, percent, plural, sentence_case

FULL_ISOLATION = 3
BAD_FIT = 0.5  # FVU above which an SAE fits badly
DEGENERATE_LIMIT = 0.05
MIN_CONTROLS = 10  # of each kind; with fewer, phase 3.3 gives no verdict


def cautions_section(collected: Collected) -> Section:
    section = Section("warnings", "Warnings", "What must be known before believing a number?")
    done = [phase for phase in collected.phases.values() if phase.state == FINISHED]
    found = [
        *_scope(collected), *_unfinished(collected), *_selection(collected), *_programs(collected), *_isolation(done),
        *_detection(collected), *_steering(collected), *_agreement(done), *_provenance(done),
    ]  # fmt: skip
    section.blocks += found or [Paragraph("None of what this report looks for was found.")]
    return section


def _warning(label: str, words: str) -> Block:
    return Paragraph(words, "warning", label)


def _scope(collected: Collected) -> list[Block]:
    found = []
    if collected.is_organism:
        found.append(_warning(
            "Model organism", "The model is a small one of our own whose knowledge was planted. It shows that the "
            "pipeline works; it is no evidence about natural models.",
        ))  # fmt: skip
    if collected.readings > 1:
        found.append(_warning(
            "Validation read again", f"{collected.readings} different selections were evaluated on this validation "
            "split. What is chosen by its results looks better than it is.",
        ))  # fmt: skip
    return found


def _unfinished(collected: Collected) -> list[Block]:
    found = []
    for phase in collected.phases.values():
        if phase.state in (UNFINISHED, STALE, DAMAGED):
            found.append(_warning(sentence_case(phase.state), f"Phase {phase.handoff.phase}: {phase.why}."))
            found.append(Commands([phase.command]))
        elif phase.newer:
            words = f"Phase {phase.handoff.phase}: {phase.newer}; the one before it is shown."
            found.append(_warning("Older run", words))
    missing = [phase for phase in collected.unfinished if phase.state == MISSING]
    if missing:
        names = phases_words([phase.handoff.phase for phase in missing])
        found.append(_warning("Not begun", f"{sentence_case(names)}. To run what is missing:"))
        found.append(Commands([phase.command for phase in missing]))
    return found


def _selection(collected: Collected) -> list[Block]:
    latents = collected.finished(LATENTS)
    if latents is None:
        return []
    result, found = latents.json("selected.json"), []
    weak = [direction_words(name) for name, entry in result["directions"].items() if not entry["significant"]]
    if weak:
        words = f"Not significant among all ranked latents (family-wise 0.05): {listed(weak)}."
        found.append(_warning("Selection by chance", words))
    bad = [str(site["layer"]) for site in result["sites"] if _fits_badly(site)]
    if bad:
        words = f"The SAE of layer {listed(bad)} leaves more than half of the variance of general text unexplained."
        found.append(_warning("Bad fit", words))
    if result["left_out"]:
        found.append(_warning("Left out", f"In selection: {_left_out(result['left_out'])}."))
    return found


def _fits_badly(site: dict[str, Any]) -> bool:
    return any(site[name] is None or site[name] > BAD_FIT for name in ("fvu", "fvu_ordinary"))


def _left_out(left_out: dict[str, Any]) -> str:
    return "; ".join(f"{count(n)} {reason.replace('_', ' ')}" for reason, n in left_out.items() if n)


def _programs(collected: Collected) -> list[Block]:
    found = []
    for handoff in (GENERATIONS, TEMPERATURE):
        phase = collected.finished(handoff)
        if phase is None:
            continue
        names = [name for name in phase.manifest["files"] if name.startswith("dataset") and name.endswith(".parquet")]
        rows = [row for name in names for row in phase.artifact.table(name)]
        found += _of_rows(phase, rows, phase.artifact.table("grading.parquet"))
    return found


def _of_rows(phase: PhaseResult, rows: list[dict[str, Any]], grading: list[dict[str, Any]]) -> list[Block]:
    found, where, n = [], f"Phase {phase.handoff.phase}", len(rows)
    near = sum(row["near_limit"] for row in grading)
    if near:
        words = f"{where}: {share_words(near, n)} programs came close to a limit of the sandbox."
        found.append(_warning("Near a limit", f"{words} A slower machine may judge them otherwise."))
    cut = sum(row["stop_reason"] in ("max_new_tokens", "context_length") for row in rows)
    if cut:
        words = f"{where}: {share_words(cut, n)} outputs were cut off at the token limit."
        found.append(_warning("Did not stop", words))
    labels = Counter(row["label"] for row in rows)
    for label, words in (("not_run", "the sandbox failed"), ("unsupported", "they return no value to judge by")):
        if labels[label]:
            found.append(_warning("Not judged", f"{where}: {share_words(labels[label], n)} programs, because {words}."))
    return found


def _isolation(done: list[PhaseResult]) -> list[Block]:
    weak = {}
    for phase, sandbox in sandboxes_of(done):
        if sandbox["level"] < FULL_ISOLATION:
            weak.setdefault(isolation_words(sandbox), {})[phase.handoff.phase] = None
    found = [
        _warning("Weak isolation", f"The programs of {phases_words(list(phases))} were run at isolation {level}.")
        for level, phases in weak.items()
    ]
    near = Counter({phase.handoff.phase: 0 for phase, _ in sandboxes_of(done)})
    for phase, sandbox in sandboxes_of(done):
        if phase.handoff not in (GENERATIONS, TEMPERATURE):  # theirs are counted program by program
            near[phase.handoff.phase] += sandbox.get("near_limit_count", 0)
    found += [
        _warning("Near a limit", f"Phase {name}: {plural(n, 'program')} came close to a limit of the sandbox.")
        for name, n in near.items()
        if n
    ]
    return found


def _detection(collected: Collected) -> list[Block]:
    detection = collected.finished(DETECTION)
    if detection is None:
        return []
    result, found = detection.json("detection.json"), []
    for part, left_out in result["left_out"].items():
        if any(left_out.values()):
            found.append(_warning("Left out", f"In detection, of {part}: {_left_out(left_out)}."))
    loose = [
        direction_words(name) for name, entry in result["directions"].items()
        if not entry["baselines"].get(PROBE, {}).get("converged", True)
    ]  # fmt: skip
    if loose:
        found.append(_warning("Not converged", f"The logistic regression beside {listed(loose)}."))
    return found


def _steering(collected: Collected) -> list[Block]:
    found = []
    tuned, steering = collected.finished(COEFFICIENTS), collected.finished(STEERING)
    if tuned is not None:
        entries = tuned.json("coefficients.json")["directions"]
        none = [direction_words(name) for name, entry in entries.items() if entry["chosen"] is None]
        if none:
            found.append(_warning("No coefficient", f"Every one tried breaks the output of {listed(none)}."))
    if steering is not None:
        found += _few_problems(collected, steering)
        for name, entry in steering.json("steering.json")["directions"].items():
            newly = entry["effect"]["newly_degenerate"]["rate"] if "effect" in entry else None
            if newly is not None and newly["value"] is not None and newly["value"] >= DEGENERATE_LIMIT:
                words = f"Steering with {direction_words(name)} breaks {percent(newly)} of the outputs."
                found.append(_warning("Degenerate outputs", words))
    return found


def _few_problems(collected: Collected, steering: PhaseResult) -> list[Block]:
    """A trial on some problems, with few controls or another limit of length, must not be taken for the result."""
    found, result = [], steering.json("steering.json")
    split, generations = collected.finished(SPLIT), collected.finished(GENERATIONS)
    assert split is not None and generations is not None  # phase 3.3 has read them
    of = split.artifact.n_rows("validation_{dataset}.parquet")
    if result["n"] < of:
        found.append(_warning("Some problems", f"Phase 3.3 steered {count(result['n'])} of {count(of)} validation "
                              "problems: small effects cannot show."))  # fmt: skip
    few = [direction_words(name) for name, entry in result["directions"].items()
           if any(kind["n"] < MIN_CONTROLS for kind in entry.get("controls", {}).values())]  # fmt: skip
    if few:
        found.append(_warning("Few controls", f"Fewer than {MIN_CONTROLS} controls of a kind for {listed(few)}: "
                              "nothing can be said of what is theirs alone."))  # fmt: skip
    then, now = (phase.manifest["settings"].get("max_new_tokens") for phase in (generations, steering))
    if then != now:
        found.append(_warning("Another limit", f"Phase 3.3 cut programs off at {now} tokens, phase 1 at {then}."))
    return found


def _agreement(done: list[PhaseResult]) -> list[Block]:
    """Whether the phases that generate again get what phase 1 got."""
    found = []
    for phase in done:
        name = f"{phase.handoff.name}.json"
        same = phase.json(name).get("agrees_with_phase_1") if name in phase.manifest["files"] else None
        if same and same["same_tokens"] < same["of"]:
            different = same["of"] - same["same_tokens"]
            words = f"{share_words(different, same['of'])} unsteered outputs are not those of phase 1."
            found.append(_warning("Not the same again", f"Phase {phase.handoff.phase}: {words}"))
    return found


def _provenance(done: list[PhaseResult]) -> list[Block]:
    found, codes = [], codes_of(done)
    dirty = [phase.handoff.phase for phase in done if any(p["code"]["dirty"] for p in processes(phase))]
    if dirty:
        words = f"{sentence_case(phases_words(dirty))} ran with changes that were not committed."
        found.append(_warning("Changed code", words))
    commits = {code_words({**process["code"], "dirty": False}) for phase in done for process in processes(phase)}
    if len(commits) > 1:
        found.append(_warning("Several versions of the code", f"The phases were run by {listed(codes)}."))
    several = {name: versions for name, versions in versions_of(done).items() if len(versions) > 1}
    if several:
        words = "; ".join(f"{name} {' and '.join(versions)}" for name, versions in several.items())
        found.append(_warning("Several versions of libraries", f"{words}."))
    return found
