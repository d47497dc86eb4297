"""Where a program ends in the lines of a text, read from left to right.

The lines are split into top-level chunks, each one statement. Once a chunk has defined the tested function, the
program ends at the first line at column 0 that cannot belong to it: an assert, a print, a call or second definition of
the tested function, `if __name__`, prose, a comment or string that opens another problem or tests, or a chunk that does
not parse and that no further line can mend. While the program still lacks a name, `if __name__` and such a comment do
not end it yet: the helper may stand behind them.

A line is judged by what stands before it and in it, never by what comes after (a line that is still being written only
by beginnings that no continuation can change). So an end that is found in a text is the same in every longer one.
"""

import ast
import functools
import keyword
import re
from collections.abc import Sequence

from common.problems.lines import Line, OpenConstructs
from common.problems.statements import NEW_PROBLEM, TESTS, ends_solution, is_main_guard, is_overload
from common.problems.syntax import module_names, parsed, unbound_names

_COMPOUND = {"def", "class", "async", "if", "for", "while", "try", "with", "match", "@"}
_CLAUSES = {"else", "elif", "except", "finally"}
_DEFINERS = {"def", "class", "async", "@"}
# Statements that cannot stand inside brackets: the bracket was never closed.
_STATEMENT = re.compile(r"(?:def|class|assert|import|return|while|raise|try|with|pass)\W")
_FIRST_WORD = re.compile(r"@|\w+")
_MAIN = re.compile(r"if\s+\(?__name__\W")
_TERMINATOR = re.compile(r"assert\W|print\s*\(|>>>|(?:unittest\.main|doctest\.testmod|pytest\.main)\s*\(")
_TWO_WORDS = re.compile(r"([^\W\d]\w*)[ \t]+([^\W\d]\w*)\W")
_SOFT_KEYWORDS = {*keyword.softkwlist, "type"}
# What does not parse and does not begin so is prose.
_CODE = re.compile(
    r"@\w|(?:async\s+)?def\s+\w+\s*\(|class\s+\w+\s*[(:]|(?:if|for|while|with|try|match|async)\b.*:|(?:return|raise|assert)\b"
    r"|from\s+\S+\s+import\b|import\s+[\w.]+\s*(?:$|,|as\b|;|#)|[\w.\[\]'\", ]+\s*(?:[-+*/|&]|//|\*\*)?=(?!=)"
)


class ProgramEnd:
    """Reads lines and says where the program ends. A chunk is the top-level statement being read."""

    def __init__(self, entry_point: str):
        self.defined = False
        self.begins_with_code: bool | None = None  # None while nothing but comments has been read
        self.prose: list[tuple[int, int]] = []  # from where to where, before the function
        self._entry_point = entry_point
        self._own, self._definition = _patterns_of(entry_point)
        self._open = OpenConstructs()
        self._kept: list[str] = []  # lines of the chunks that belong to the program
        self._doubt: tuple[int, set[str]] | None = None  # a comment that ends the program unless a lacking name follows
        self._start_chunk(None)

    @property
    def between_lines(self) -> bool:
        """Whether a statement may begin here."""
        return self._open.nothing

    @property
    def in_code(self) -> bool:
        """Whether the lines belong to a program, not to prose before it."""
        return self.defined or bool(self._lines and _CODE.match(self._lines[0]))

    @property
    def nothing_kept(self) -> bool:
        """Whether all so far was prose, and a program may begin anywhere."""
        return not self._kept and self._first_word is None and self._open.nothing

    def read(self, line: Line) -> int | None:
        """The program's end, when this line shows it."""
        if not self._open.nothing:
            if self._open.quote or not _STATEMENT.match(line.text):
                return self._take(line)
            self._open = OpenConstructs()
        code = _from_column_0(line.text)
        bare = code.lstrip(" \t")
        if not bare or (bare.startswith("#") and bare != code):
            return self._take(line)
        if bare.startswith("#"):
            return self._at_comment(line)
        if bare != code:
            return self._at_indented(line)
        return self._at_statement(line, code)

    def close(self, offset: int) -> int | None:
        """The end, at `offset` the latest, of a program whose text is over there; None if it was not begun."""
        end = self._end_chunk(offset)
        return self._end_at(offset) if end is None and self.defined else end

    def doubtful_end(self, offset: int) -> int | None:
        """The end of a program whose text breaks off at `offset`: where it was over unless a name followed."""
        self._end_chunk(offset)
        return None if self._doubt is None else self._doubt[0]

    def _at_comment(self, line: Line) -> int | None:
        end = self._end_at_marker(only_new_problem=True)
        if end is None and line.complete:
            if self._marker is None:
                new_problem = bool(NEW_PROBLEM.match(line.text))
                if new_problem or TESTS.match(line.text):
                    self._marker = (line.start, new_problem, len(self._lines))
            return self._take(line)
        return end

    def _at_indented(self, line: Line) -> int | None:
        self._marker = None  # the comment at column 0 stood inside a body
        if self._first_word is None and line.complete and self.defined:
            return self._end_at(line.start)
        return self._take(line)

    def _at_statement(self, line: Line, code: str) -> int | None:
        is_main = bool(_MAIN.match(code))
        terminates = is_main or self._terminates(code)
        if not (line.complete or terminates):
            return None
        word = _FIRST_WORD.match(code)
        first_word = word[0] if word else code[:1]
        if self._continues_chunk(first_word):
            if self.defined and self._own.match(code):
                return self._end_at(self._chunk_start)
            return self._take(line)
        end = self._end_at_marker(only_new_problem=first_word in _DEFINERS | {"import", "from"})
        if end is None:
            end = self._end_chunk(line.start)
        if end is None and self.defined and terminates and not (is_main and self._lacking()):
            end = self._end_at(line.start)
        if end is not None:
            return end
        self._start_chunk(line.start, first_word)
        return self._take(line)

    def _terminates(self, code: str) -> bool:
        """A beginning that no solution's line has, whatever follows it."""
        if _TERMINATOR.match(code) or self._own.match(code):
            return True
        words = _TWO_WORDS.match(code)
        return words is not None and not any(
            keyword.iskeyword(word) or (word in _SOFT_KEYWORDS and word == words[1]) for word in words.groups()
        )

    def _continues_chunk(self, first_word: str) -> bool:
        if self._first_word == "@":
            return first_word in _DEFINERS and not self._decorated
        return first_word in _CLAUSES and self._first_word in _COMPOUND - _DEFINERS

    def _start_chunk(self, start: int | None, first_word: str | None = None) -> None:
        self._chunk_start, self._first_word = start, first_word
        self._lines: list[str] = []
        self._marker: tuple[int, bool, int] | None = None
        self._decorated = False

    def _take(self, line: Line) -> int | None:
        """Take a complete line into the chunk; a simple statement is over with its last line."""
        if not line.complete:
            return None
        if self._first_word is not None:
            self._lines.append(line.text)
            self._decorated |= self._open.nothing and line.text.startswith(("def", "class", "async"))
        self._open.read(line.text)
        if self._open.nothing and self._first_word is not None and self._first_word not in _COMPOUND:
            return self._end_chunk(line.end)
        return None

    def _end_chunk(self, offset: int) -> int | None:
        """Judge the chunk that ends before `offset`: it may define the function, or end the program."""
        lines, start = self._lines, self._chunk_start
        self._start_chunk(None)
        if start is None:
            return None
        body = parsed("\n".join(lines))
        is_prose = not _CODE.match(lines[0]) if body is None and lines else _only_names(body or [])
        if self.begins_with_code is None:
            self.begins_with_code = not is_prose
        if body is None and self.defined:
            return self._end_at(start)
        if body is None and any(self._definition.match(_from_column_0(line)) for line in lines):
            return offset
        if self.defined and body and all(ends_solution(item, self._entry_point) for item in body):
            return self._end_or_go_on(start, body[0])
        if is_prose and not self.defined:
            self.prose.append((start, offset))
            self._kept = []
        elif body is not None:
            self._keep(lines, body)
        return None

    def _end_or_go_on(self, start: int, statement: ast.stmt) -> int | None:
        """The end at a statement that no solution has, unless the helper that the program lacks may stand behind it."""
        lacking = self._lacking()
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not lacking or not (is_text or is_main_guard(statement)) or (is_text and self._doubt):
            return self._end_at(start)
        if is_text:
            self._doubt = (start, lacking)
        return None

    def _keep(self, lines: list[str], body: list[ast.stmt]) -> None:
        self._kept += lines
        self.defined |= self._entry_point in module_names(body) and not all(map(is_overload, body))
        self._settle_doubt(body)

    def _settle_doubt(self, body: list[ast.stmt]) -> None:
        """Go on if these define what the program lacked. An import is of the next problem: one forgotten stays so."""
        names = module_names(body)
        if self._doubt and any(kind != "import" and name in self._doubt[1] for name, kind in names.items()):
            self._doubt = None

    def _end_at_marker(self, *, only_new_problem: bool) -> int | None:
        """The offset of the comment that opened another problem, or tests, now that no body goes on after it."""
        if self._marker is None:
            return None
        offset, new_problem, n_lines = self._marker
        if only_new_problem and not new_problem:
            return None
        self._marker = None
        lines = self._lines[:n_lines]
        body = parsed("\n".join(lines))
        if body is None or not (self.defined or self._entry_point in module_names(body)):
            return None
        self._settle_doubt(body)
        lacking = self._lacking(lines)
        if self._doubt or not lacking:
            return self._end_at(offset)
        self._doubt = (offset, lacking)
        return None

    def _lacking(self, more: Sequence[str] = ()) -> set[str]:
        """Names that the program looks up so far and does not define."""
        program = "\n".join([*self._kept, *more])
        return set() if parsed(program) is None else unbound_names(program)

    def _end_at(self, offset: int | None) -> int | None:
        """The end, now that nothing that belongs to the program follows `offset`."""
        return offset if self._doubt is None else self._doubt[0]


@functools.lru_cache(maxsize=4096)  # each problem has its own, and `re` keeps but 512
def _patterns_of(entry_point: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Beginnings of a call or definition of the function, and of its definition alone."""
    name = re.escape(entry_point) if entry_point else "(?!)"
    call_or_definition = re.compile(rf"{name}\s*\(|(?:async\s+def|def|class)\s+{name}\W")
    return call_or_definition, re.compile(rf"(?:async\s+def|def|class)\s+{name}\b")


def _from_column_0(line: str) -> str:
    """The line after its last leading form feed, at which Python counts columns anew."""
    indent = line[: len(line) - len(line.lstrip(" \t\f"))]
    return line[indent.rfind("\f") + 1 :]


def _only_names(body: list[ast.stmt]) -> bool:
    """Whether statements are words that happen to parse: `Sure`, `a - b`."""
    return bool(body) and all(
        isinstance(item, ast.Expr)
        and not isinstance(item.value, ast.Constant)
        and not any(isinstance(node, ast.Call) for node in ast.walk(item))
        for item in body
    )
