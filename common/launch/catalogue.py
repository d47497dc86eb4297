"""The two tables of run.py: phases and commands. What they name is imported when it is asked for."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError, suggestion
from common.phases.phase import Phase


@dataclass(frozen=True)
class Command:
    """`function` is 'module:name': it takes the words after the command's name and the Catalogue, and returns a status.

    `usage` is what may be typed, `text` what it does, in one line.
    """

    function: str
    usage: str
    text: str


@dataclass(frozen=True)
class Catalogue:
    """`phases` maps an id to the module that holds PHASE, in the order a full run takes; `groups` what one word runs.

    Phases `apart` need what a full run does not have: a second model or dataset.
    """

    phases: Mapping[str, str]
    commands: Mapping[str, Command]
    groups: Mapping[str, tuple[str, ...]]
    apart: tuple[str, ...]

    def phase(self, phase_id: str) -> Phase:
        """The PHASE of one phase. Raises: ConfigError, naming the phases there are."""
        return importlib.import_module(_known(phase_id, "phase", self.phases)).PHASE

    def command(self, name: str) -> Callable[[list[str]], int]:
        """What carries out a command. Raises: ConfigError, naming the commands there are."""
        function = pkgutil.resolve_name(_known(name, "command", self.commands).function)
        return lambda argv: function(argv, self)


def _known(name: str, kind: str, table: Mapping[str, Any]) -> Any:
    if name not in table:
        hint = suggestion(name, list(table))
        raise ConfigError(f"there is no {kind} '{name}'{hint and '.' + hint}\nGive one of: {', '.join(table)}")
    return table[name]
