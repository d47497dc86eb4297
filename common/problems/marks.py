"""What stands in an answer beside text and code: fences, tags, thoughts, ends of turns. Found one line at a time.

A mark in a string of the code, or between the backticks of inline code, is none.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

_LIST_ITEM = r"(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?"
FENCE_LINE = re.compile(rf"(?P<lead>[ \t]*{_LIST_ITEM})(?P<fence>`{{3,}}|~{{3,}})(?P<info>.*)")
_INLINE_FENCE = re.compile(r"`{3,}")
_CODE = r"(?:@\w|(?:async +)?def |class |import |from +\S+ +import |\w+ *= *lambda\b)"
_INFO_WITH_CODE = re.compile(rf"[ \t]*(?P<name>(?!{_CODE})\S+(?:[ \t]+[\d.]+)?[ \t]+)?(?P<code>{_CODE}.*)")
_LANGUAGE = re.compile(r"[ \t]*[\w{.][\w{}.:+#/-]*(?:[ \t]+(?:[\d.]+|\{.*\}|\w+=.*))?[ \t]*\Z")

_THOUGHT = r"(?:think(?:ing)?|thoughts?|reasoning|reflection)"
_THOUGHT_OPENS = re.compile(rf"[ \t]*(?:<(?:seed:)?{_THOUGHT}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>)")
_CLOSES_THOUGHT = rf"</(?:seed:)?{_THOUGHT}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>"
_TURN = (
    r"<\|im_start\|>(?:assistant)?|<\|start_header_id\|>\w*<\|end_header_id\|>|<start_of_turn>(?:model)?"
    r"|<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|begin_of_text|end|eot|EOT|user|assistant|system)\|>"
    r"|<end_of_turn>|</?s>|<[be]os>|<｜[^<>｜]+｜>|(?<!\w)\[/?INST\]"
)
_SQUARE, _ANGLE = r"(?:BEGIN|PYTHON|CODE|SOLUTION|ANSWER)", r"(?:answer|solution|code|python|program|pre)"
_TAG_OPENS = re.compile(rf"[ \t]*(?:\[{_SQUARE}\]|<{_ANGLE}>)")
_DONE = ("[DONE]", "[END]")
_CLOSES_TAG = rf"\[/{_SQUARE}\]|</{_ANGLE}>|\[(?:DONE|END)\](?=\s*\Z)"
_THOUGHT_CLOSES = re.compile(_CLOSES_THOUGHT)
_CLOSES = re.compile(rf"(?P<THOUGHT_CLOSES>{_CLOSES_THOUGHT})|(?P<TURN>{_TURN})|(?P<TAG_CLOSES>{_CLOSES_TAG})")

_STRINGS = re.compile(r'"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_MAY_BEGIN_MARK = re.compile("[<`~\\[◁]")
_TAG = "["


class Kind(Enum):
    """What a mark says of the text after it."""

    THOUGHT_OPENS = auto()
    THOUGHT_CLOSES = auto()
    TURN = auto()  # of the conversation: begins or ends
    FENCE = auto()  # opens or closes a block
    TAG_OPENS = auto()
    TAG_CLOSES = auto()


@dataclass(frozen=True)
class Mark:
    """A mark in a line, from `start` to `end`, where what follows it begins.

    Of a fence, `fence` is its backticks or tildes, `opens` says that a language is named, and `indent` is its
    indentation, which the code beside it shares.
    """

    kind: Kind
    start: int
    end: int
    fence: str = ""
    opens: bool = False
    indent: str = ""


class OpenMarks:
    """The fences and tags that stand open, the innermost last."""

    def __init__(self) -> None:
        self._open: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def in_tag(self) -> bool:
        return _TAG in self._open

    def take(self, mark: Mark) -> bool:
        """Open or close by a mark; whether it closed what was open."""
        match mark.kind:
            case Kind.FENCE:
                return self._take_fence(mark)
            case Kind.TAG_OPENS:
                self._open = [_TAG]
                return False
        was_open = bool(self._open)
        self._open = []
        return was_open and mark.kind is not Kind.THOUGHT_OPENS

    def _take_fence(self, mark: Mark) -> bool:
        """A fence that cannot close an open one opens one, in place of an innermost that was never closed."""
        fits = [fence[0] == mark.fence[0] and len(mark.fence) >= len(fence) for fence in self._open]
        if not mark.opens and any(fits):
            exact = mark.fence in self._open
            place = self._open.index(mark.fence) if exact else max(i for i, good in enumerate(fits) if good)
            del self._open[place:]
            return True
        if fits and fits[-1]:
            self._open.pop()
        self._open.append(mark.fence)
        return False


def first_mark(line: str, *, in_block: bool, in_tag: bool, in_code: bool) -> Mark | None:
    """The first mark in a complete line. `in_code` says that the line belongs to a program, fenced or not."""
    if not _MAY_BEGIN_MARK.search(line):
        return None
    if match := None if in_block and not in_tag else _TAG_OPENS.match(line):
        return Mark(Kind.TAG_OPENS, 0, match.end(), indent=indent_of(line))
    if match := None if in_block else _THOUGHT_OPENS.match(line):
        return Mark(Kind.THOUGHT_OPENS, 0, match.end())
    closing = _closing(line, in_tag, in_code)
    fence = _fence(line if closing is None else line[: closing.start], in_block=in_block, in_code=in_code)
    return fence or closing


def _closing(line: str, in_tag: bool, in_code: bool) -> Mark | None:
    """The first end of a thought, a tag, or a turn."""
    for match in _CLOSES.finditer(line):
        before = line[: match.start()]
        is_code = match[0] in _DONE and before.strip() and not in_tag
        if match.lastgroup and not is_code and not _is_quoted(before, in_code):
            return Mark(Kind[match.lastgroup], match.start(), match.end())
    return None


def thought_end(line: str) -> Mark | None:
    """The end of a thought that is open."""
    match = _THOUGHT_CLOSES.search(line)
    return None if match is None else Mark(Kind.THOUGHT_CLOSES, match.start(), match.end())


def before_marks(line: str) -> str:
    """A line that is still being written, up to where a mark may begin."""
    match = _MAY_BEGIN_MARK.search(line)
    return line if match is None else line[: match.start()]


def _fence(line: str, *, in_block: bool, in_code: bool) -> Mark | None:
    if match := FENCE_LINE.match(line):
        info = match["info"]
        indent = indent_of(line)
        if code := _INFO_WITH_CODE.match(info):
            return Mark(Kind.FENCE, 0, match.start("info") + code.start("code"), match["fence"], True, indent)
        if "`" not in info or (in_code and not in_block):
            opens = bool(_LANGUAGE.match(info)) or bool(info.strip() and not in_block)
            return Mark(Kind.FENCE, 0, len(line), match["fence"], opens, indent)
    if "```" not in line:
        return None
    runs = list(_INLINE_FENCE.finditer(line))
    if in_block or in_code:
        closing = (run for run in runs if run.start() > 0 and not _is_quoted(line[: run.start()], True))
        run = next(closing, None)
        return None if run is None else Mark(Kind.FENCE, run.start(), run.end(), run[0])
    if len(runs) % 2 == 0:
        return None
    info = line[runs[-1].end() :]
    code = _INFO_WITH_CODE.match(info)
    end = len(line) if code is None else runs[-1].end() + code.start("code")
    if code is None and info.strip() and not _LANGUAGE.match(info):
        return None
    return Mark(Kind.FENCE, runs[-1].start(), end, runs[-1][0], bool(info.strip()))


def _is_quoted(before: str, in_code: bool) -> bool:
    """Whether what follows these beginnings of a line stands in a string of the code, or in inline code of prose."""
    if not in_code:
        return before.replace("```", "").count("`") % 2 == 1
    rest = _STRINGS.sub("", before).partition("#")[0]
    return '"' in rest or "'" in rest


def indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]
