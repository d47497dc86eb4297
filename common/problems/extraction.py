"""The program in what a model wrote, and where generation may stop.

Both rest on one scan that reads the text from left to right and decides about each line by
what stands before it and in it, never by what comes after (a line still being written is
judged only by beginnings that no continuation can change). So if `solution_end` finds an
end in a text, it finds the same end in every longer text; and as the program is made of the
text before that end, stopping there cannot change it.

1. The text is split into segments at markdown fences (of backticks or tildes, also in a list
   item, whose indentation is taken off); the first segment that defines the tested function is
   the one that counts. Of the segments before it, those are put in front that define a name
   which the program lacks: its helpers and imports. A later segment is never read: usage,
   output and other versions stand there, and generation has stopped before.
2. A segment is split into top-level chunks, each one statement. Once a chunk has defined the
   tested function, the solution ends at the first line at column 0 that cannot belong to it:
   an assert, a print, a call or second definition of the tested function, `if __name__`,
   prose, a comment or string that opens another problem or tests, or a chunk that does not
   parse and that no further line can mend.
3. Of what stands before the end, the longest prefix of lines that parses is kept, and its
   trailing statements that only test, print or talk are dropped.
"""

import ast
import dataclasses
import keyword
import re

from common.problems.lines import Line, OpenConstructs, lines_of
from common.problems.syntax import module_names, parse_python, unbound_names

_UNREADABLE = re.compile("[\0\ud800-\udfff]")  # the parser refuses these without naming a line
_FENCE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(?:```|~~~)")
_FENCE_LINE = re.compile(rf"\A{_FENCE.pattern}[^\r\n]*(?:\r\n|\r|\n)?")
_COMPOUND = {"def", "class", "async", "if", "for", "while", "try", "with", "match", "@"}
_CLAUSES = {"else", "elif", "except", "finally"}
_DEFINERS = {"def", "class", "async", "@"}
# Statements that cannot stand inside brackets: the bracket was never closed.
_STATEMENT = re.compile(r"(?:def|class|assert|import|return|while|raise|try|with|pass)\W")
_FIRST_WORD = re.compile(r"@|\w+")
_TERMINATOR = re.compile(
    r"assert\W|print\s*\(|if\s+\(?__name__\W|>>>|(?:unittest\.main|doctest\.testmod|pytest\.main)\s*\("
)
_TWO_WORDS = re.compile(r"([^\W\d]\w*)[ \t]+([^\W\d]\w*)\W")
_SOFT_KEYWORDS = {*keyword.softkwlist, "type"}
_NEW_PROBLEM = re.compile(
    r"\W*(?:solutions?|problem|tasks?|exercise|question|write an? (?!helper)|write (?:python|code)|given an? )\b",
    re.IGNORECASE,
)
_TESTS = re.compile(
    r"\W*(?:test(?:s|ing)?|examples?|usage|sample|expected output|driver (?:code|program)|output|explanation)\b",
    re.IGNORECASE,
)


def solution_end(text: str, entry_point: str) -> int | None:
    """The offset in `text`, in characters, where the solution is over and generation may stop; None while it may go on.

    Once found for a text, it is the same for every longer text. Cost is linear in the length.
    """
    return _scan(text, entry_point)[1] if entry_point in text else None


def extract_program(text: str, entry_point: str) -> str:
    """The program in `text`: the tested function with its imports, helpers, classes and constants.

    Ends with one newline. When no prefix parses and defines the function, it is the text up to
    the stop if that begins to define it (the label is then a syntax error), else the longest
    prefix that parses and defines anything (a name error), else the text as it is.
    """
    starts, end = _scan(text, entry_point)
    stops = [*starts[1:], len(text) if end is None else end]
    segments = [_content(text[start:stop]) for start, stop in zip(starts, stops, strict=True)]
    for index in range(0 if end is None else len(segments) - 1, len(segments)):
        if program := _program(segments[index], entry_point):
            return _with_helpers(program, segments[:index], entry_point)
    if end is not None:
        return segments[-1]
    begun = [segment for segment in segments if _begins_definition(segment.splitlines(), entry_point)]
    if begun:
        return begun[0]
    others = [_other_program(segment) for segment in segments]
    return next((program for program in others if program), text)


def _scan(text: str, entry_point: str) -> tuple[list[int], int | None]:
    """Offsets where the segments begin, the last being the one that counts, and the solution's end in it."""
    scan = _Scan(entry_point)
    if entry_point:
        for line in lines_of(text):
            end = scan.read(line)
            if end is not None:
                return scan.segment_starts, end
    return scan.segment_starts, None


class _Scan:
    """Reads lines and says where the solution ends. A chunk is the top-level statement being read."""

    def __init__(self, entry_point: str):
        self.segment_starts = [0]
        self._entry_point = entry_point
        self._own = re.compile(rf"{re.escape(entry_point)}\s*\(|(?:async\s+def|def|class)\s+{re.escape(entry_point)}\W")
        self._defined = False
        self._open = OpenConstructs()
        self._indent: str | None = ""  # of the segment; None until a line of it shows
        self._start_chunk(None)

    def read(self, line: Line) -> int | None:
        """The solution's end, when this line shows it."""
        if _FENCE.match(line.text) and not self._open.in_long_string:
            return self._at_fence(line)
        if self._indent is None and line.text.strip():
            self._indent = _indent_of(line.text)
        if self._indent:
            line = dataclasses.replace(line, text=_dedented(line.text, self._indent))
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

    def _at_fence(self, line: Line) -> int | None:
        end = self._end_chunk(line.start)
        if end is None and self._defined:
            end = line.start
        if end is None:
            self.segment_starts.append(line.start)
            self._open, self._indent = OpenConstructs(), None
        return end

    def _at_comment(self, line: Line) -> int | None:
        end = self._end_at_marker(only_new_problem=True)
        if end is None and line.complete:
            if self._marker is None:
                new_problem = bool(_NEW_PROBLEM.match(line.text))
                if new_problem or _TESTS.match(line.text):
                    self._marker = (line.start, new_problem, len(self._lines))
            return self._take(line)
        return end

    def _at_indented(self, line: Line) -> int | None:
        self._marker = None  # the comment at column 0 stood inside a body
        if self._first_word is None and line.complete and self._defined:
            return line.start
        return self._take(line)

    def _at_statement(self, line: Line, code: str) -> int | None:
        terminates = self._terminates(code)
        if not (line.complete or terminates):
            return None
        word = _FIRST_WORD.match(code)
        first_word = word[0] if word else code[:1]
        if self._continues_chunk(first_word):
            if self._defined and self._own.match(code):
                return self._chunk_start
            return self._take(line)
        end = self._end_at_marker(only_new_problem=first_word in _DEFINERS | {"import", "from"})
        if end is None:
            end = self._end_chunk(line.start)
        if end is None and self._defined and terminates:
            end = line.start
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
        """Judge the chunk that ends before `offset`: it may define the function, or end the solution."""
        lines, start = self._lines, self._chunk_start
        self._start_chunk(None)
        if start is None:
            return None
        body = _parsed(lines)
        if body is None:
            if self._defined:
                return start
            return offset if _begins_definition(lines, self._entry_point) else None
        if self._defined:
            return start if body and all(_ends_solution(item, self._entry_point) for item in body) else None
        self._defined = self._entry_point in module_names(body)
        return None

    def _end_at_marker(self, *, only_new_problem: bool) -> int | None:
        """The offset of the comment that opened another problem, or tests, now that no body goes on after it."""
        if self._marker is None:
            return None
        offset, new_problem, n_lines = self._marker
        if only_new_problem and not new_problem:
            return None
        self._marker = None
        body = _parsed(self._lines[:n_lines])
        if body is not None and (self._defined or self._entry_point in module_names(body)):
            return offset
        return None


def _from_column_0(text: str) -> str:
    """The line after its last leading form feed, at which Python counts columns anew."""
    indent = text[: len(text) - len(text.lstrip(" \t\f"))]
    return text[indent.rfind("\f") + 1 :]


def _parsed(lines: list[str]) -> list[ast.stmt] | None:
    try:
        return parse_python("\n".join(lines) + "\n").body
    except SyntaxError:
        return None


def _begins_definition(lines: list[str], entry_point: str) -> bool:
    pattern = re.compile(rf"(?:async\s+def|def|class)\s+{re.escape(entry_point)}\b")
    return any(pattern.match(_from_column_0(line)) for line in lines)


def _ends_solution(statement: ast.stmt, entry_point: str) -> bool:
    """A top-level statement that no solution has after its function."""
    match statement:
        case ast.Assert() | ast.AnnAssign(value=None):
            return True
        case ast.If():
            return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test))
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return bool(_NEW_PROBLEM.match(text) or _TESTS.match(text))
        case ast.Expr():
            calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
            return not calls or any(_called_name(call) in ("print", entry_point) for call in calls)
    return False


def _only_talks(statement: ast.stmt, entry_point: str) -> bool:
    """A statement that only tests, prints or talks: worth nothing at a program's end."""
    match statement:
        case ast.Assign() | ast.AnnAssign():
            return any(_called_name(node) == entry_point for node in ast.walk(statement))
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.For() | ast.While() | ast.With() | ast.If():
            inner = [*statement.body, *getattr(statement, "orelse", [])]
            if all(_only_talks(item, entry_point) for item in inner):
                return True
    return _ends_solution(statement, entry_point)


def _called_name(node: ast.AST) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def _content(segment: str) -> str:
    """A segment without its fence line, with which it begins unless it is the first, and without its indentation."""
    fence = _FENCE_LINE.match(segment)
    if fence is None:
        return segment
    content = segment[fence.end() :]
    first = next((line.text for line in lines_of(content) if line.text.strip()), "")
    indent = _indent_of(first)
    if not indent:
        return content
    return "".join(_dedented(line, indent) for line in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", content))


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _dedented(line: str, indent: str) -> str:
    """The line without as much of the indentation as it has."""
    own = _indent_of(line)
    return line[min(len(own), len(indent)) :]


def _with_helpers(program: str, earlier: list[str], entry_point: str) -> str:
    """The program, after those of the earlier segments that define a name which it lacks; the nearest one serves."""
    for segment in reversed(earlier):
        lacking = unbound_names(program)
        helper = _other_program(segment, entry_point) if lacking else None
        given = {*module_names(parse_python(helper).body)} if helper is not None else set()
        if lacking & given or "*" in given:  # a module's names are not known
            joined = f"{helper}\n\n{program}"
            program = joined if _parsed(joined.split("\n")) is not None else program
    return program


def _program(segment: str, entry_point: str) -> str | None:
    """The longest prefix of lines that parses, without its trailing talk; None if it does not define the function."""
    lines, body = _longest_prefix(segment)
    definers = [index for index, item in enumerate(body) if entry_point in module_names([item])]
    if not definers:
        return None
    return _kept(lines, body, definers[-1], entry_point)


def _other_program(segment: str, tested: str = "") -> str | None:
    """The longest prefix of lines that parses, if it defines anything; it ends before it runs the tested function."""
    lines, body = _longest_prefix(segment)
    using = (index for index, item in enumerate(body) if _runs(item, tested))
    body = body[: next(using, len(body))]
    definers = [index for index, item in enumerate(body) if module_names([item])]
    return _kept(lines, body, definers[-1], "") if definers else None


def _runs(statement: ast.stmt, tested: str) -> bool:
    """Whether a statement of the module needs the tested function, or a user who types, when it is run."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return bool(tested) and not names.isdisjoint({tested, "input"})


def _kept(lines: list[str], body: list[ast.stmt], n_needed: int, entry_point: str) -> str:
    last = len(body) - 1
    while last > n_needed and _only_talks(body[last], entry_point):
        last -= 1
    kept = lines[: body[last].end_lineno]
    if last + 1 < len(body) and body[last + 1].lineno == body[last].end_lineno:
        kept[-1] = kept[-1].encode()[: body[last].end_col_offset].decode()
    return "\n".join(kept) + "\n"


def _longest_prefix(segment: str) -> tuple[list[str], list[ast.stmt]]:
    """The most lines from the segment's beginning that parse together, and their statements.

    An error at line n is an error of every prefix that holds line n, so the next try ends
    before it. The parser names no line when its stack is full: the longest line is the likely cause.
    """
    lines = [line.text for line in lines_of(segment)]
    unreadable = (index for index, line in enumerate(lines) if _UNREADABLE.search(line))
    lines = lines[: next(unreadable, len(lines))]
    while lines:
        try:
            return lines, parse_python("\n".join(lines) + "\n").body
        except SyntaxError as error:
            n_longest = max(range(len(lines)), key=lambda index: len(lines[index]))
            n_good = n_longest if error.lineno is None else error.lineno - 1
            lines = lines[: max(0, min(n_good, len(lines) - 1))]
    return [], []
