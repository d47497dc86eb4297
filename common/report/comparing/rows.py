"""The experiments that are set side by side, and which of them may be compared.

1. Every experiment that some data folder has a run of, the newest first; one that selected its latents several times,
   as from several layers, once for each selection that was judged.
2. Those of the same problems, split alike and asked for alike, form a group. Across groups nothing is comparable: an
   AUROC depends on the problems that it is of.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase

from common.handoffs import DETECTION, LATENTS, SPLIT, STEERING
from common.handoffs.detection import DetectedDirection
from common.handoffs.steering import SteeredDirection
from common.report.collect import Collected, Names, Runs, choose, collect_experiment, runs_in
from common.report.outcomes import Outcome, by_worth, can_be_steered, knows
from common.runs.discovery import feeds_nothing, is_of, lineage_of, plain_name
from common.words import count


@dataclass(frozen=True)
class Compared:
    """One experiment among others; `group` is a letter that those have in common that may be compared with it."""

    collected: Collected
    group: str
    several_folders: bool

    @cached_property
    def knows(self) -> Outcome:
        return knows(self.collected)

    @cached_property
    def steered(self) -> Outcome:
        return can_be_steered(self.collected)

    @property
    def model(self) -> str:
        return plain_name(self.collected.experiment["model"])

    @property
    def dataset(self) -> str:
        return plain_name(self.collected.experiment["dataset"])

    @cached_property
    def headline(self) -> tuple[str, DetectedDirection] | None:
        """What phase 3.1 says of the direction that was chosen on other problems."""
        phase = self.collected.finished(DETECTION)
        return None if phase is None else phase.document().headline

    @property
    def direction(self) -> SteeredDirection | None:
        """The steered direction whose verdict says most."""
        phase = self.collected.finished(STEERING)
        steered = {} if phase is None else phase.document().steered
        return next(iter(by_worth(steered).values()), None)

    @property
    def made_of(self) -> str:
        """What else tells it from others: dictionaries, layers, prompts, folder."""
        names, latents = self.collected.experiment, self.collected.finished(LATENTS)
        told = [plain_name(names["sae"])] if names["sae"] else []
        layers = "all" if latents is None else str(latents.manifest["all_settings"].get("layers", "all"))
        told += [f"layers {layers}"] if layers != "all" else []
        told += [f"{names['prompt']} prompts"] if names["prompt"] != "plain" else []
        told += [str(self.collected.data_dir)] if self.several_folders else []
        return ", ".join(told)


def compared_in(folders: list[Path], given: dict[str, str] | None = None, preset: str | None = None) -> list[Compared]:
    """A row for each experiment that fits what is given, those that may be compared one below the other.

    Raises: ConfigError for an unknown preset; MissingArtifactError when a folder has no experiment that fits.
    """
    collected = [one for folder in folders for one in _in_folder(folder, given or {}, preset)]
    groups: dict[tuple, list[Collected]] = {}
    for one in collected:
        groups.setdefault(problems_of(one), []).append(one)
    several = len({one.data_dir for one in collected}) > 1
    return [
        Compared(one, letter, several)
        for letter, group in zip(_letters(len(groups)), groups.values(), strict=True)
        for one in group
    ]


def problems_of(collected: Collected) -> tuple[str, str]:
    """Which problems an experiment is of, and how they were split; '' before phase 0.1."""
    split = collected.finished(SPLIT)
    return collected.experiment["dataset"], "" if split is None else split.artifact.content_sha256


def _letters(n: int) -> list[str]:
    """'A' to 'Z', then numbers."""
    return [ascii_uppercase[place] if place < len(ascii_uppercase) else count(place + 1) for place in range(n)]


def _in_folder(folder: Path, given: dict[str, str], preset: str | None) -> Iterator[Collected]:
    runs = runs_in(folder)
    for names in choose(runs, given, folder, preset):
        newest = collect_experiment(runs, names, folder)
        yield newest
        yield from _other_selections(runs, names, newest)


def _other_selections(runs: Runs, names: Names, newest: Collected) -> Iterator[Collected]:
    """The same experiment with each other selection of latents that was judged, the newest first."""
    current = newest.finished(DETECTION)
    seen = {None if current is None else current.manifest["lineage"].get(LATENTS.name)}
    for run in runs[DETECTION.name]:
        usable = run.readable and not feeds_nothing(DETECTION, run)
        if not usable or not is_of(DETECTION, run, names) or run.document["schema_version"] != DETECTION.version:
            continue
        selection = run.document["lineage"].get(LATENTS.name)
        if selection not in seen:
            seen.add(selection)
            yield collect_experiment(runs, names, newest.data_dir, lineage=lineage_of(DETECTION, run))


def not_comparable(rows: Iterable[Compared]) -> list[str]:
    """What sets each group apart from the first, in sentences; none where there is one group."""
    first: dict[str, Compared] = {}
    for row in rows:
        first.setdefault(row.group, row)
    whole, *others = first.values()
    return [
        f"{other.group} is not comparable with {whole.group}: {_why(problems_of(other.collected), whole)}."
        for other in others
    ]


def _why(problems: tuple[str, str], whole: Compared) -> str:
    dataset, _ = problems_of(whole.collected)
    if problems[0] != dataset:
        same_name = plain_name(problems[0]) == whole.dataset
        return f"another dataset, {problems[0] if same_name else plain_name(problems[0])}"
    return "another split of the same dataset"
