"""What comes out of the sandbox: a label, one of the error classes of docs/method.md, and a reproducible message."""

import builtins
import re
from dataclasses import dataclass

MESSAGE_CHARS = 300
_SHOWN_CHARS = 120  # of a value in a message
NEAR_LIMIT_FRACTION = 0.5

# Order matters: the first class that the exception is a kind of (UnboundLocalError is a NameError).
_ERROR_CLASSES: tuple[tuple[type[BaseException], str], ...] = (
    (NameError, "name_error"),
    (TypeError, "type_error"),
    (ValueError, "value_error"),
    (IndexError, "index_error"),
    (KeyError, "key_error"),
    (AttributeError, "attribute_error"),
    (ImportError, "import_error"),
    (ZeroDivisionError, "zero_division"),
    (RecursionError, "recursion"),
    (MemoryError, "memory"),
)


@dataclass(frozen=True)
class Verdict:
    """The judgement of one program.

    `label` is correct, incorrect, not_run (the sandbox failed) or unsupported (the tests cannot
    be judged by value). `error` is a class of docs/method.md for incorrect programs, else None.
    `near_limit`: it used half of its CPU or blocked time or more, so a slower machine could
    give another label.
    """

    label: str
    error: str | None
    failed_test: str | None
    message: str
    cpu_s: float
    wall_s: float
    near_limit: bool


def error_class(builtin_name: str, while_compiling: bool) -> str:
    """The class (docs/method.md) of an exception, named by its nearest builtin base.

    Whatever stops the compiler (null bytes, lone surrogates, a parser out of stack) is a
    syntax error; a SyntaxError raised later, by eval() say, is not one of the program.
    """
    if while_compiling:
        return "syntax_error"
    exception = getattr(builtins, builtin_name, None)
    if not (isinstance(exception, type) and issubclass(exception, BaseException)):
        return "other_exception"
    if issubclass(exception, SyntaxError):
        return "other_exception"
    return next((name for kind, name in _ERROR_CLASSES if issubclass(exception, kind)), "other_exception")


def shown(value: object, *refusals: type[BaseException]) -> str:
    """A short text of a value whose repr may raise one of `refusals`, as that of an int of many digits does."""
    try:
        text = repr(value)
    except refusals:
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def clean_message(text: str, scratch: str = "") -> str:
    """`text` without what differs from run to run: memory addresses and the scratch folder's name."""
    if scratch:
        text = text.replace(scratch, "<scratch>")
    text = re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x...", text)
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 3] + "..."
