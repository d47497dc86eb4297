"""A page that may be published: without the texts of problems, programs and documents, and without folders' places."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.report.blocks import Example, Paragraph, Passages, Section, parts_of
from common.report.collect import Collected


def leave_out_texts(sections: Iterable[Section]) -> None:
    """Put a line in the place of each block that shows one, folds included."""
    for section in sections:
        for part in parts_of(section.blocks):
            for place, block in enumerate(part):
                if isinstance(block, Example | Passages):
                    part[place] = Paragraph(f"{block.title}: left out of this page, as all texts are.", "note")


def names_of_places(collected: Collected) -> dict[str, str]:
    """What stands for each absolute path in settings and commands: where it lies in the data folder, else its name."""
    data_dir = collected.data_dir.resolve()
    places = {path for path in _paths(collected) if path.is_absolute() and len(path.parts) > 2}
    inside = {path: path.relative_to(data_dir.parent) for path in places if path.is_relative_to(data_dir)}
    names = {str(path): str(inside.get(path, path.name)) for path in places}
    return dict(sorted(names.items(), key=lambda one: -len(one[0])))


def _paths(collected: Collected) -> Iterator[Path]:
    """Everything that may be a path, of the data folder and of every phase."""
    yield from (collected.data_dir, collected.data_dir.resolve())
    commands = [result.command for result in collected.results]
    for result in collected.done:
        commands.append(result.manifest["command"])
        yield from (Path(value) for value in result.manifest["all_settings"].values() if isinstance(value, str))
    yield from (Path(word.rstrip(":")) for command in commands for word in shlex.split(command))
