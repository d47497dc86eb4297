"""Templates of pairs: a clean program in named parts, and what stands in some of them in the corrupted one.

    TypeError/SyntaxError: text plus number; the closing bracket is missing
        call: «print(»
        left: «"$name: "» «"$name is "»
        op: « +»
        right: « $many» -> « $more»
        close: «)» -> «»

The head has the contrast, the template's name and what makes the corrupted program of the clean one. Each further line
is a part, by its role: between « and » the texts that may stand there, of several lengths, and after an arrow those of
the corrupted program. $slots are filled with words and numbers (words.py), \\n begins a line of the program. A file may
begin with lines "names: ..." and "words: ..." of its own vocabulary.
"""

import random
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from common.errors import ConfigError
from phase6_error_circuits.pairs.words import GENERAL, SLOTS, Vocabulary, draw_slots

ERRORS = (
    "TypeError",
    "SyntaxError",
    "NameError",
    "ZeroDivisionError",
    "IndexError",
    "KeyError",
    "AttributeError",
    "ValueError",
)
CONTRASTS = (
    "TypeError/SyntaxError",
    "TypeError/NameError",
    "SyntaxError/NameError",
    "NameError/ZeroDivisionError",
    "ZeroDivisionError/TypeError",
    "IndexError/KeyError",
    "IndexError/TypeError",
    "KeyError/NameError",
    "KeyError/TypeError",
    "AttributeError/NameError",
    "AttributeError/TypeError",
    "AttributeError/ZeroDivisionError",
    "ValueError/NameError",
    "ValueError/TypeError",
    "ValueError/SyntaxError",
)
FILE = Path(__file__).with_name("templates.txt")
_HEAD = re.compile(r"(\w+/\w+): ([^;]+); (.+)")
_PART = re.compile(r"    (\w+): ((?:«[^»]*» ?)+?)(?: ?-> ((?:«[^»]*» ?)+))?")
_SLOT = re.compile(r"(\$\w+|\$\{\w+\})")
_TEXT = re.compile("«([^»]*)»")
_MIN_NAMES, _MIN_WORDS = 16, 12  # each half is drawn from in pairs: four names, three words
_FORM = "Write it as in phase6_error_circuits/pairs/templates.txt, which is explained in templates.py"

Parts = tuple[tuple[str, str], ...]  # role and text


@dataclass(frozen=True)
class Part:
    """What may stand in one place of the clean program, and of the corrupted one where that is something else."""

    role: str
    clean: tuple[str, ...]
    corrupted: tuple[str, ...]


@dataclass(frozen=True)
class PairTemplate:
    """One template with the vocabulary that fills it; `is_own`: it came with the model."""

    contrast: str
    name: str
    corruption: str
    parts: tuple[Part, ...]
    vocabulary: Vocabulary
    is_own: bool = False

    @property
    def errors(self) -> tuple[str, str]:
        """What the clean and the corrupted program raise."""
        clean, corrupted = self.contrast.split("/")
        return clean, corrupted

    @property
    def changed(self) -> list[str]:
        """Roles of the parts that differ."""
        return [part.role for part in self.parts if part.corrupted]

    @cached_property
    def slots(self) -> frozenset[str]:
        """Names of the slots that some text of the template has."""
        texts = [text for part in self.parts for text in (*part.clean, *part.corrupted)]
        return frozenset(slot for text in texts for piece, slot in _pieces(text) if slot)

    def draw(self, rng: random.Random, split: str) -> tuple[Parts, Parts]:
        """The parts of a clean and a corrupted program, with the same words and numbers."""
        slots = draw_slots(rng, self.vocabulary, split, self.slots)
        clean: list[tuple[str, str]] = []
        corrupted: list[tuple[str, str]] = []
        for part in self.parts:
            text = rng.choice(part.clean)
            clean += _filled(part.role, text, slots)
            corrupted += _filled(part.role, rng.choice(part.corrupted) if part.corrupted else text, slots)
        return tuple(clean), tuple(corrupted)


def part_of(role: str) -> str:
    """The part of the template that a role is of: `left` of `left:name`."""
    return role.partition(":")[0]


def _filled(role: str, text: str, slots: dict[str, str]) -> list[tuple[str, str]]:
    """A part's text, cut where a slot begins or ends: of `"$name: "` the roles are left, left:name and left."""
    return [(f"{role}:{slot}", slots[slot]) if slot else (role, piece) for piece, slot in _pieces(text)]


@cache
def _pieces(text: str) -> list[tuple[str, str]]:
    """A text cut at its slots: each piece, and its slot's name where it is one."""
    pieces = [piece for piece in _SLOT.split(text) if piece]
    return [(piece, piece.strip("${}") if _SLOT.fullmatch(piece) else "") for piece in pieces]


def read_templates(path: Path = FILE, is_own: bool = False) -> list[PairTemplate]:
    """All templates of a file. Raises: ConfigError, naming the line that is of no known form."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the templates in {path} cannot be read: {error}\nGive another file") from error
    templates: list[PairTemplate] = []
    head, parts = None, []
    vocabulary: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            if head is not None:
                templates.append(_template(head, parts, vocabulary, is_own, where))
            head, parts = None, []
        elif head is None and line.startswith(("names: ", "words: ")):
            vocabulary[line[:5]] = tuple(line[6:].split())
        elif head is None:
            head = _head(line, where)
        else:
            parts.append(_part(line, where))
    if not templates:
        raise ConfigError(f"{path} holds no template\n{_FORM}")
    return templates


def _head(line: str, where: str) -> tuple[str, str, str]:
    match = _HEAD.fullmatch(line)
    if match is None:
        raise ConfigError(f"{where}: '{line}' is no head of a template\n{_FORM}")
    contrast, name, corruption = match.groups()
    if contrast not in CONTRASTS:
        raise ConfigError(f"{where}: there is no contrast '{contrast}'\nGive one of: {', '.join(CONTRASTS)}")
    return contrast, name, corruption


def _part(line: str, where: str) -> Part:
    match = _PART.fullmatch(line)
    if match is None:
        raise ConfigError(f"{where}: '{line}' is no part of a template\n{_FORM}")
    role, clean, corrupted = match.groups()
    return Part(role, _texts(clean), _texts(corrupted or ""))


def _texts(alternatives: str) -> tuple[str, ...]:
    return tuple(text.replace("\\n", "\n") for text in _TEXT.findall(alternatives))


def _template(
    head: tuple[str, str, str], parts: list[Part], words: dict[str, tuple[str, ...]], is_own: bool, where: str
) -> PairTemplate:
    vocabulary = Vocabulary(words.get("names", GENERAL.names), words.get("words", GENERAL.words))
    made = PairTemplate(*head, tuple(parts), vocabulary, is_own)
    if len(vocabulary.names) < _MIN_NAMES or len(vocabulary.words) < _MIN_WORDS:
        sizes = f"{len(vocabulary.names)} names and {len(vocabulary.words)} words"
        raise ConfigError(f"{where}: there are {sizes}\nGive at least {_MIN_NAMES} and {_MIN_WORDS}")
    if not made.changed:
        raise ConfigError(f"{where}: nothing is changed in '{made.name}'\n{_FORM}")
    if unknown := sorted(made.slots - {*SLOTS}):
        raise ConfigError(
            f"{where}: there is no slot '${unknown[0]}' for '{made.name}'\nGive slots among: ${', $'.join(SLOTS)}"
        )
    return made
