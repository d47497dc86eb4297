"""The program in what a model wrote, and where generation may stop.

1. The text is read from left to right into blocks, up to where the answer is over (`common.problems.blocks`). Nothing
   behind that is ever read: so stopping there cannot change the program.
2. Of several fences the last that defines the tested function counts: it corrects the earlier ones. A program that
   stands free counts where no fence defines the function.
3. Of a block, the longest prefix of lines that parses is kept, without its statements that only test, print, talk or
   wait for a user who types.
4. Of the other blocks those are put beside it that define a name which it lacks: its helpers and imports.

docs/extraction.md has a table of the forms of answers.
"""

import ast
import re
from collections.abc import Sequence

from common.problems.blocks import Block, read_answer
from common.problems.program import helpers_in, longest_prefix, program_in
from common.problems.statements import really_defines
from common.problems.syntax import module_names, parse_python, parsed, unbound_names


def solution_end(text: str, entry_point: str) -> int | None:
    """The offset in `text`, in characters, where the answer is over and generation may stop; None while it may go on.

    Once found for a text, it is the same for every longer text. Cost is linear in the length.
    """
    return read_answer(text, entry_point).end if entry_point in text else None


def extract_program(text: str, entry_point: str) -> str:
    """The program in `text`: the tested function with its imports, helpers, classes and constants.

    Ends with one newline. Where no block parses and defines the function, it is the one that begins to define it (the
    label is then a syntax error), else the longest prefix of the first that defines anything (a name error), else the
    text as it is, without thoughts.
    """
    answer = read_answer(text, entry_point)
    program = _program(answer.blocks, entry_point)
    if program is None and answer.end is None:  # a string without end may have hidden the fences
        program = _program(read_answer(text, entry_point, strings_may_hold_fences=False).blocks, entry_point)
    if program is not None:
        return program
    begun = (block for block in answer.blocks if _begins_definition(block.lines, entry_point))
    if broken := next(begun, None):
        return "\n".join(broken.lines) + "\n"
    others = (helpers_in(block.lines) for block in answer.blocks)
    return next((program for program in others if program), text[answer.start :])


def _program(blocks: Sequence[Block], entry_point: str) -> str | None:
    """The program of the block that counts, the best of its rank: of fences the last, of free text the first."""
    prefixes = [longest_prefix(block.lines) for block in blocks]
    ranks = [_rank(block, *prefix, entry_point) for block, prefix in zip(blocks, prefixes, strict=True)]
    best = [index for index, rank in enumerate(ranks) if rank == max(ranks)]
    chosen = next((index for index in reversed(best) if blocks[index].fenced), best[0] if best else None)
    if chosen is None or entry_point not in module_names(prefixes[chosen][1]):
        return None
    program = program_in(*prefixes[chosen], entry_point)
    for block in reversed(blocks[:chosen]):
        program = _with_helpers(program, block, entry_point)
    for block in blocks[chosen + 1 :]:
        program = _with_helpers(program, block, entry_point, behind=True)
    return program


def _rank(block: Block, good: list[str], body: list[ast.stmt], entry_point: str) -> int:
    """How well a block defines the function; `good` are its first lines, as far as they parse.

    0 not at all, 1 by an import or a stub, 2 it begins to; 3 it does, 1 more in a fence, 2 more where nothing is lost.
    """
    rest = block.lines[len(good) :]
    if any(really_defines(item, entry_point) for item in body):
        whole = block.complete or not any(map(str.strip, rest))
        return 3 + block.fenced + 2 * whole
    if _begins_definition(rest, entry_point):
        return 2
    return 1 if entry_point in module_names(body) else 0


def _begins_definition(lines: Sequence[str], entry_point: str) -> bool:
    pattern = re.compile(rf"\f*(?:async\s+def|def|class)\s+{re.escape(entry_point)}\b")
    return bool(entry_point) and any(map(pattern.match, lines))


def _with_helpers(program: str, other: Block, entry_point: str, behind: bool = False) -> str:
    """The program, and that of the other block before or behind it if it defines a name which the program lacks."""
    lacking = unbound_names(program)
    helper = helpers_in(other.lines, entry_point) if lacking else None
    given = {*module_names(parse_python(helper).body)} if helper is not None else set()
    if not lacking & given and "*" not in given:  # a module's names are not known
        return program
    joined = f"{program}\n\n{helper}" if behind else f"{helper}\n\n{program}"
    return joined if parsed(joined) is not None else program
