"""Programs up close: what steering changed, and where the headline's latent was right, wrong and silent.

None is picked by hand: they are the first of their kind, or those at the ends of the latent's scale.
"""

from common.handoffs import DETECTION, GENERATIONS, ORTHOGONALISATION, SPLIT, SPLIT_FILES, STEERING
from common.handoffs.detection import LATENT
from common.handoffs.steering import ChangedProgram, SteeringDocument
from common.report.blocks import Block, Example, Heading, Paragraph, Section
from common.report.collect import Collected, PhaseResult
from common.tables import TableRow
from common.words import direction_words, number, plural

MOST_LINES, LONGEST_LINE = 60, 240  # of one program on the page: what repeats itself has no end
_OUTCOME = {"fail_to_pass": "fails, and passes {}", "pass_to_fail": "passes, and fails {}"}
_CHANGES = ((STEERING, "steered"), (ORTHOGONALISATION, "without it"))


def examples_section(collected: Collected) -> Section | None:
    """None before phase 1."""
    generations, split = collected.finished(GENERATIONS), collected.finished(SPLIT)
    if generations is None:
        return None
    programs = {row["task_id"]: row for row in generations.artifact.table("dataset.parquet")}
    section = Section("examples", "Examples", "What do these numbers look like in single programs?")
    section.blocks += _steered(collected)
    if split is not None:
        problems = split.artifact.table(SPLIT_FILES["validation"])
        section.blocks += _predicted(collected, problems, programs) or _written(problems, programs)
    return section if section.blocks else None


def _steered(collected: Collected) -> list[Block]:
    blocks: list[Block] = []
    for schema, after in _CHANGES:
        phase = collected.finished(schema)
        for name, changed in {} if phase is None else phase.document("examples.json").items():
            if changed:
                blocks.append(Heading(f"What {_change(phase, name)} changed"))
                blocks.append(Paragraph("The first of each kind, in the order of the validation split.", "note"))
                blocks += [changed_program(example, after) for example in changed]
    return blocks


def _change(phase: PhaseResult | None, name: str) -> str:
    """'adding steer-correct'."""
    steering = phase.document() if phase else None
    if not isinstance(steering, SteeringDocument):
        return f"taking {direction_words(name)} away"
    entry = steering.steered.get(name)
    return f"{'subtracting' if entry and entry.subtracted else 'adding'} {direction_words(name)}"


def changed_program(example: ChangedProgram, after: str, outcome: str = "") -> Example:
    """`outcome` says what became of it, where "fails" and "passes" would mislead: then no error is named either."""
    lines = _shortened(_lines_of_diff(example.diff))
    errors = () if outcome else (("before", example.error_before), (after, example.error_after))
    outcome = outcome or _OUTCOME[example.transition].format(after)
    notes = [f"{when}: {error.replace('_', ' ')}" for when, error in errors if error]
    notes += [f"{after}, the output is degenerate"] if example.degenerate else []
    legend = f"− before, + {after}"
    return Example(f"Problem {example.task_id}", outcome, example.text, lines, legend, "; ".join(notes))


def _predicted(collected: Collected, problems: list[TableRow], programs: dict[int, TableRow]) -> list[Block]:
    """The ends of the headline's scale on the validation split; nothing before phase 3.1."""
    detection = collected.finished(DETECTION)
    headline = None if detection is None else detection.document().headline
    if detection is None or headline is None:
        return []
    name, positive = headline[0], headline[1].positive
    negative = "correct" if positive == "incorrect" else "incorrect"
    columns = detection.artifact.columns("predictions.parquet")
    of_latent = (columns["direction"] == name) & (columns["score"] == LATENT) & (columns["split"] == "validation")
    score = dict(zip(columns["task_id"][of_latent].tolist(), columns["value"][of_latent].tolist(), strict=True))
    judged = [problem for problem in problems if problem["task_id"] in score]
    kinds = (
        ("speaks most for it, rightly", positive, -1),
        ("speaks most for it, wrongly", negative, -1),
        ("speaks least for it, wrongly", positive, 1),
    )
    blocks: list[Block] = [
        Heading(f"Where {direction_words(name)} was right and wrong"),
        Paragraph(f"Its latent stands for {positive} programs; these lie at the ends of its scale.", "note"),
    ]
    for words, label, sign in kinds:
        fitting = [problem for problem in judged if programs[problem["task_id"]]["label"] == label]
        if fitting:
            problem = min(fitting, key=lambda problem: (sign * score[problem["task_id"]], problem["task_id"]))
            value = number(score[problem["task_id"]])
            blocks.append(_program(problem, programs[problem["task_id"]], f"activation {value}: {words}"))
    return blocks


def _written(problems: list[TableRow], programs: dict[int, TableRow]) -> list[Block]:
    """The first program that passes, and the first that fails."""
    blocks: list[Block] = [Paragraph("The first program of the validation split that passes, and that fails.", "note")]
    for label, words in (("correct", "passes"), ("incorrect", "fails")):
        first = next((p for p in problems if programs.get(p["task_id"], {}).get("label") == label), None)
        if first is not None:
            blocks.append(_program(first, programs[first["task_id"]], words))
    return blocks if len(blocks) > 1 else []


def _program(problem: TableRow, program: TableRow, outcome: str) -> Example:
    error = (program["error"] or program["label"]).replace("_", " ")
    notes = ["passes its tests" if program["label"] == "correct" else f"fails: {error}"]
    if program["failed_test"]:
        notes.append(_cut(program["failed_test"]))
    lines = [(" ", line) for line in program["code"].splitlines()]
    return Example(f"Problem {problem['task_id']}", outcome, problem["text"], _shortened(lines), note=": ".join(notes))


def _lines_of_diff(diff: str) -> list[tuple[str, str]]:
    """Lines of a unified diff with their mark, without its headers."""
    lines = [line for line in diff.splitlines()[2:] if not line.startswith("@@")]
    return [(line[:1] if line[:1] in "+-" else " ", line[1:]) for line in lines]


def _shortened(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    left = len(lines) - MOST_LINES
    shown = [(mark, _cut(line)) for mark, line in lines[:MOST_LINES]]
    return shown if left <= 0 else [*shown, (" ", f"… {plural(left, 'more line')}")]


def _cut(line: str) -> str:
    left = len(line) - LONGEST_LINE
    return line if left <= 0 else f"{line[:LONGEST_LINE]} … {plural(left, 'more character')}"
