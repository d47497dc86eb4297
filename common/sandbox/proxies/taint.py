"""Which operators of a program's own classes may decide a test, and which turn a pass into `unsupported`.

What a program answers *as a value* (attributes, methods, len, bool, iter, hash, str, items) is as honest as a
return value: it does not know what is expected. An operator is not where Python hands the other operand to
the program's class and the answer decides: it could say yes to everything. Once tainted, a pass no longer
counts; a failure still does, since a program can only hurt itself.
"""

import opcode
import sys
from collections.abc import Callable
from typing import Any

EQUALITY = frozenset({"__eq__", "__ne__"})
ORDER = frozenset({"__lt__", "__le__", "__gt__", "__ge__"})
ARITHMETIC = frozenset(
    f"__{prefix}{name}__"
    for name in "add sub mul truediv floordiv mod pow and or xor lshift rshift matmul divmod".split()
    for prefix in ("", "r", "i")
)
_COMPARE = opcode.opmap["COMPARE_OP"]
_STRANGERS: tuple[Any, ...] = ("\0 no test expects this", -7919.5, object)


def ordered_by_a_comparison() -> bool:
    """Whether a comparison written in Python asks an operator's rule, not a sort, min, max or heap."""
    frame = sys._getframe(3)  # this function, the rule, the operator's method, who compares
    return frame.f_code.co_code[frame.f_lasti] == _COMPARE


def says_yes_to_everything(ask: Callable[[Any], Any], name: str) -> bool:
    """Whether `==` (or the negation of `!=`) holds for values that no test expects. `ask(other)` asks the program."""
    for stranger in _STRANGERS:
        try:
            answer = ask(stranger)
        except Exception:  # the program's own, for an operand that it does not know
            continue
        if answer is not NotImplemented and bool(answer) == (name == "__eq__"):
            return True
    return False
