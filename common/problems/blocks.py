"""A text taken apart into the blocks that may hold a program, and where the answer in it is over.

1. A thought (`<think>` to `</think>`) is dropped, and all of it where only its end is seen: its beginning stands in the
   prompt then. A thought without end is all that follows.
2. What is left is split at fences and tags. Where prose stands before a program, the program begins behind it.
3. A program that stands free ends at the first line that cannot belong to it (`common.problems.program_end`), and with
   it the answer. After one in a fence the answer goes on, as the next fence may correct it: it is over once
   CORRECTED_WITHIN characters have brought no further fence, or where the turn of the conversation ends. A text that
   begins with prose may be a thought, as long as none has ended: it is never over before it ends by itself.

All is decided from left to right: the end found in a text is the same in every longer one, and what stands before it is
all that is ever read.
"""

import bisect
import dataclasses
import os.path
import re
from dataclasses import dataclass

from common.problems.lines import Line, OpenConstructs, lines_of
from common.problems.marks import (
    FENCE_LINE,
    Kind,
    Mark,
    OpenMarks,
    before_marks,
    first_mark,
    indent_of,
    thought_end,
)
from common.problems.program_end import ProgramEnd

CORRECTED_WITHIN = 1_000  # a correction follows at once, an explanation may go on for long
_INVISIBLE = "\ufeff\u200b\u2060"  # byte-order mark, spaces without width
_BEGINNING = re.compile(r"(?:@\w|(?:async[ \t]+)?def|class|import|from)\b")


@dataclass(frozen=True)
class Block:
    """Lines that may hold a program. `complete`: a fence, or what follows the program, has shown that it is whole."""

    lines: list[str]
    fenced: bool
    complete: bool


@dataclass(frozen=True)
class Answer:
    """The blocks of a text, where the answer begins behind thoughts, and where it is over (None while it goes on)."""

    blocks: list[Block]
    start: int
    end: int | None


def read_answer(text: str, entry_point: str, strings_may_hold_fences: bool = True) -> Answer:
    """Take a text apart. `entry_point` is the name of the tested function. Cost is linear in the length."""
    reader = _Reader(entry_point, strings_may_hold_fences)
    line = None
    for line in lines_of(text):
        end = reader.read(line)
        if end is not None:
            reader.finish()
            return Answer(reader.blocks, reader.answer_start, end)
    if line is not None and not line.complete:
        reader.read(dataclasses.replace(line, complete=True))
    reader.finish(len(text))
    return Answer(reader.blocks, reader.answer_start, None)


class _OpenBlock:
    """The block that is being read."""

    def __init__(self, entry_point: str, fenced: bool = False, indent: str | None = None):
        self.fenced = fenced
        self.program = ProgramEnd(entry_point)
        self.end: int | None = None
        self._strings = OpenConstructs()
        self._indent = indent  # None until a line of it shows
        self._lines: list[Line] = []

    @property
    def in_long_string(self) -> bool:
        return self.in_code and self._strings.in_long_string

    @property
    def in_code(self) -> bool:
        return self.fenced or (self.end is None and self.program.in_code)

    def read(self, line: Line) -> int | None:
        """The end of the program, when this line shows it."""
        line = line.with_text(self._dedented(line.text))
        if line.complete:
            self._lines.append(line)
            self._strings.read(line.text)
        if self.end is None:
            self.end = self.program.read(line)
            return self.end
        return None

    def blocks(self, closed: bool) -> list[Block]:
        """What was read, split where prose stands; of a block that is not closed nothing after the program's end."""
        lines = [line for line in self._lines if self.end is None or closed or line.start < self.end]
        starts = [line.start for line in lines]
        runs, start = [], 0
        for first, last in [*self.program.prose, (len(starts) and starts[-1] + 1, None)]:
            runs.append([line.text for line in lines[start : bisect.bisect_left(starts, first)]])
            start = bisect.bisect_left(starts, last or first)
        complete = closed or self.end is not None
        return [Block(run, self.fenced, complete) for run in runs if any(map(str.strip, run))]

    def _dedented(self, text: str) -> str:
        indent = indent_of(text)
        bare = text[len(indent) :]
        if bare and self._begins_anew(indent, bare):
            self._indent = indent
        elif bare and self._indent and self.program.between_lines and not bare.startswith("#"):
            self._indent = os.path.commonprefix([indent, self._indent])
        return text[len(os.path.commonprefix([indent, self._indent])) :] if self._indent else text

    def _begins_anew(self, indent: str, bare: str) -> bool:
        """Whether the program begins with this line, at its indentation."""
        return self._indent is None or (indent != "" and self.program.nothing_kept and bool(_BEGINNING.match(bare)))


class _Reader:
    def __init__(self, entry_point: str, strings_may_hold_fences: bool):
        self.blocks: list[Block] = []
        self.answer_start = 0
        self._entry_point = entry_point
        self._strings_may_hold_fences = strings_may_hold_fences
        self._block = _OpenBlock(entry_point)
        self._marks = OpenMarks()
        self._in_thought = False
        self._may_be_thought: bool | None = None  # None until its beginning has been judged
        self._defined = False  # in a block that is over
        self._over_at: int | None = None

    def read(self, line: Line) -> int | None:
        """Where the answer is over, when this line shows it."""
        line = line.with_text(line.text.lstrip(_INVISIBLE))
        waited = self._over_at is not None and line.start >= self._over_at
        if waited and not (self._marks or self._in_thought or self._may_be_thought):
            return line.start
        return self._read_complete(line) if line.complete else self._read_beginning(line)

    def finish(self, offset: int | None = None) -> None:
        """Take the last block in; `offset` is the text's end where nothing else has ended the answer."""
        if self._block.end is None and offset is not None:
            self._block.end = self._block.program.doubtful_end(offset)
        self._take_blocks(closed=False)
        if self._in_thought and offset is not None:
            self.answer_start = offset

    def _read_beginning(self, line: Line) -> int | None:
        """What the beginning of a line shows, whatever follows."""
        if self._in_thought or self._block.fenced or self._block.in_long_string:
            return None
        if FENCE_LINE.match(line.text):
            return self._close_block(line.start, begins_fenced=True)
        return self._read_code(line.with_text(before_marks(line.text)))

    def _read_complete(self, line: Line) -> int | None:
        while True:
            mark = self._mark_in(line)
            if mark is None:
                return None if self._in_thought else self._read_code(line)
            before = line.text[: mark.start]
            if before.strip() and not self._in_thought:
                end = self._read_code(Line(line.start, before, True, line.start + mark.start))
                if end is not None:
                    return end
            line = _rest_of(line, mark)
            end = self._at_mark(mark, line)
            if end is not None or not line.text.strip():
                return end

    def _mark_in(self, line: Line) -> Mark | None:
        if self._in_thought:
            return thought_end(line.text)
        if self._block.in_long_string and self._strings_may_hold_fences:
            return None
        return first_mark(line.text, in_block=bool(self._marks), in_tag=self._marks.in_tag, in_code=self._block.in_code)

    def _read_code(self, line: Line) -> int | None:
        end = self._block.read(line)
        if end is None or self._block.fenced:
            return None
        self._judge_beginning()
        return None if self._may_be_thought else end

    def _at_mark(self, mark: Mark, rest: Line) -> int | None:
        """Act on a mark, which `rest` of its line follows; where the answer is over, if it is with it."""
        offset = rest.start - (mark.end - mark.start)
        if mark.kind is Kind.THOUGHT_CLOSES:
            self._end_thought(rest.start)
            return None
        closes = self._marks.take(mark)
        end = self._close_block(offset, closes, begins_fenced=mark.kind in (Kind.FENCE, Kind.TAG_OPENS))
        if end is not None:
            return end
        self._in_thought = mark.kind is Kind.THOUGHT_OPENS
        self._block = _OpenBlock(self._entry_point, bool(self._marks), mark.indent if rest.text.strip() else None)
        return offset if mark.kind is Kind.TURN and self._defined else None

    def _end_thought(self, offset: int) -> None:
        """What stands before is dropped: all of it, if the thought began in the prompt."""
        if not self._in_thought:
            self.blocks, self._defined, self._over_at = [], False, None
        self._in_thought = self._may_be_thought = False
        self._marks = OpenMarks()
        self._block = _OpenBlock(self._entry_point)
        self.answer_start = offset

    def _close_block(self, offset: int, closed: bool = False, begins_fenced: bool = False) -> int | None:
        """Take the block in that ends at `offset`; where the answer is over, if it is with it."""
        block = self._block
        if block.end is None:
            block.end = block.program.close(offset)
        self._judge_beginning(begins_fenced)
        if block.fenced:
            if block.program.defined:
                self._over_at = offset + CORRECTED_WITHIN
        elif block.end is not None and not self._may_be_thought:
            return block.end
        self._take_blocks(closed and block.fenced)
        return None

    def _take_blocks(self, closed: bool) -> None:
        self.blocks += self._block.blocks(closed)
        self._defined |= self._block.program.defined
        self._block = _OpenBlock(self._entry_point)

    def _judge_beginning(self, begins_fenced: bool = False) -> None:
        with_code = self._block.program.begins_with_code
        if self._may_be_thought is None and (begins_fenced or with_code is not None):
            self._may_be_thought = with_code is False


def _rest_of(line: Line, mark: Mark) -> Line:
    """What of the line follows the mark, at the mark's indentation."""
    return Line(line.start + mark.end, mark.indent + line.text[mark.end :].strip(), True, line.end)
