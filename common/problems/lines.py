"""Lines of a growing program text, and whether a line's end is the end of a statement.

Everything here is decided from left to right, by what has been read so far: a longer text
never changes what was said of an earlier line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_TOKEN = re.compile(
    r"""(?P<comment>\#.*)
    |(?P<quote>\"\"\"|'''|"|')
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<continued>\\$)""",
    re.VERBOSE,
)
_STRING_REST = {
    '"': re.compile(r'(?:[^"\\]|\\.)*(?P<end>"|\\$)?'),
    "'": re.compile(r"(?:[^'\\]|\\.)*(?P<end>'|\\$)?"),
    '"""': re.compile(r'(?:[^"\\]|\\.|\\$|"(?!""))*(?P<end>""")?'),
    "'''": re.compile(r"(?:[^'\\]|\\.|\\$|'(?!''))*(?P<end>''')?"),
}


@dataclass(frozen=True)
class Line:
    """One line without its line end, from offset `start` to `end`; `complete` says that a line end was seen."""

    start: int
    text: str
    complete: bool
    end: int

    def with_text(self, text: str) -> "Line":
        return self if text == self.text else Line(self.start, text, self.complete, self.end)


def lines_of(text: str) -> Iterator[Line]:
    """The lines of `text` as Python splits them: at \\n, \\r\\n and \\r, and nowhere else."""
    position = 0
    while position < len(text) and (match := _LINE.match(text, position)):  # it matches anything
        yield Line(position, match[1], bool(match[2]), match.end(1))
        position = match.end()


class OpenConstructs:
    """What is still open at the end of the lines read: a string, brackets, or a backslash at the line's end."""

    def __init__(self) -> None:
        self.quote = ""
        self.depth = 0
        self.continued = False

    @property
    def nothing(self) -> bool:
        """A statement may end here."""
        return not (self.quote or self.depth or self.continued)

    @property
    def in_long_string(self) -> bool:
        return len(self.quote) == 3

    def read(self, line: str) -> None:
        """Take in one complete line. An unterminated short string is an error to the parser, and ends with its line."""
        self.continued = False
        position = 0
        if self.quote:
            position = self._string_from(line, 0)
        while match := _TOKEN.search(line, position):
            position = match.end()
            if match["quote"]:
                self.quote = match["quote"]
                position = self._string_from(line, position)
            elif match["open"]:
                self.depth += 1
            elif match["close"]:
                self.depth = max(0, self.depth - 1)
            elif match["continued"]:
                self.continued = True

    def _string_from(self, line: str, position: int) -> int:
        """Read the rest of a string; returns where in the line it ends."""
        match = _STRING_REST[self.quote].match(line, position)
        assert match is not None  # it matches anything
        closed = match["end"] == self.quote
        continues = self.in_long_string or match["end"] == "\\"
        if closed or not continues:
            self.quote = ""
        return match.end() if closed else len(line)
