"""What stands in the place of a part that cannot be made: why not, and what to type."""

from collections.abc import Callable

from common.errors import PipelineError
from common.report.blocks import Block, Commands, warning
from common.words import sentence_case

_COMMANDS = ("python3 ", "hf ", "git ")


def or_why(make: Callable[[], list[Block]]) -> list[Block]:
    """The blocks of a part, or why there are none."""
    try:
        return make()
    except PipelineError as error:
        return why(error)


def why(error: PipelineError) -> list[Block]:
    """The two lines that every error has; a command stands by itself."""
    what, _, advice = str(error).partition("\n")
    words, _, typed = advice.partition(": ")
    if typed.startswith(_COMMANDS):
        return [warning("Not shown", f"{sentence_case(what)}. {words}:"), Commands([typed])]
    return [warning("Not shown", f"{sentence_case(what)}. {advice}.")]
