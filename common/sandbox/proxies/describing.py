"""The program's side: what is no value goes over as a handle, with a description of its class.

Runs beside the program and may be tampered with by it: the tests' side checks every word of it.
"""

import collections
import enum
import sys
import types
from typing import Any

from common.sandbox.executing import MODULE_NAME
from common.sandbox.proxies.heap import Heap
from common.sandbox.proxies.names import OPERATORS, PLAIN_BASES, SCALARS, STANDARD_MODULES, TESTS_MODULES

MAX_TEXT = 100_000
# Methods that a subclass of tuple, int, float, str or bytes may have and still behave as its base does.
_HARMLESS = frozenset(
    f"__{name}__"
    for name in "module qualname doc dict weakref init new slots match_args annotations orig_bases parameters "
    "init_subclass class_getitem getnewargs replace dataclass_fields dataclass_params getattr repr reduce "
    "static_attributes firstlineno".split()
)

_type, _id, _isinstance, _issubclass, _str, _len = type, id, isinstance, issubclass, str, len


class Handles:
    """Objects of the program that the tests know by number, and the classes that were described to them."""

    def __init__(self) -> None:
        self.objects: dict[int, Any] = {}
        self._handles: dict[int, int] = {}
        self._last = 0
        self._described: set[int] = set()
        self._new_classes: dict[int, Any] = {}
        self.callbacks: dict[int, int] = {}  # id() of a stand-in for the tests' function: its number
        self.heap: Heap | None = None

    def handle(self, value: Any) -> int:
        known = self._handles.get(_id(value))
        if known is None:
            self._last += 1
            known = self._last
            self.objects[known] = value
            self._handles[_id(value)] = known
        return known

    def release(self, value: Any) -> None:
        """Forget an object of which the tests let go: it ends here if the program does not hold it."""
        self.objects.pop(self._handles.pop(_id(value)))

    def take_new_classes(self) -> dict[int, Any]:
        """Descriptions that the tests have not seen yet."""
        new, self._new_classes = self._new_classes, {}
        return new

    def foreign(self, value: Any) -> list[Any]:
        """The node of something that is no value."""
        assert self.heap is not None  # set by whoever made both
        kind = _type(value)
        number = self.callbacks.get(_id(value))
        if number is not None:
            return ["callback", number]
        if kind is types.ModuleType:
            return ["module", value.__name__]
        base = _harmless_base(value, kind)
        if base is not None:
            plain = self.heap.encode(_plain_copy(value, base))
            return ["subclass", self.handle(value), self.describe(kind), plain, base.__name__]
        if _isinstance(value, BaseException):
            return self._exception(value, kind)
        if _isinstance(value, _type):
            return ["class", self.describe(value)]
        tag = {types.GeneratorType: "generator", types.CoroutineType: "coroutine"}.get(kind, "object")
        return [tag, self.handle(value), self.describe(kind)]

    def _exception(self, value: BaseException, kind: type) -> list[Any]:
        assert self.heap is not None
        try:
            cut = _len(_str(value)) > MAX_TEXT
        except BaseException:
            cut = False
        arguments = list(value.args)
        if _isinstance(value, OSError) and _len(arguments) == 2 and value.filename is not None:
            arguments.append(value.filename)  # which its constructor takes out of them
        encode = self.heap.encode
        written = [] if cut else [encode(argument) for argument in arguments]
        # A class of the program's own answers for its attributes itself; a standard one is rebuilt with them.
        attributes = {} if cut or _standard_name(kind) is None else value.__dict__
        more = [[name, encode(each)] for name, each in attributes.items()]
        cause = encode(value.__cause__) if value.__cause__ is not value else "N"
        return ["exception", self.handle(value), self.describe(kind), written, cut, more, cause]

    def describe(self, kind: type) -> int:
        """The handle of a class, which is described the first time."""
        number = self.handle(kind)
        if number not in self._described:
            self._described.add(number)
            mro = [base for base in _type.mro(kind) if base is not object and base is not kind]
            self._new_classes[number] = None  # before its bases, so that they come after it
            self._new_classes[number] = [
                _str(kind.__name__),
                _str(kind.__qualname__),
                _standard_name(kind),
                [self.describe(base) for base in mro],
                [name for name in OPERATORS if _has(kind, name)],
                _equality(kind),
                kind.__hash__ is None,
                _issubclass(kind, BaseException),
                _issubclass(kind, enum.Enum),
            ]
        return number


def plain_copy(value: Any) -> Any:
    """An object of a subclass of a plain container as that container. Raises: TypeError."""
    for base in PLAIN_BASES:
        if _isinstance(value, base):
            return _plain_copy(value, base)
    raise TypeError(f"{_type(value).__name__} is no container")


def _plain_copy(value: Any, base: type) -> Any:
    if base in (int, float):
        return base.__int__(value) if base is int else float.__float__(value)
    if base is str:
        return str.__str__(value)
    if base is bytes:
        return bytes.__getitem__(value, slice(None))
    if _issubclass(base, dict):
        pairs = base.items(value)
        return base(dict(pairs)) if base is collections.Counter else base(pairs)
    return base(base.__iter__(value))


def _harmless_base(value: Any, kind: type) -> type | None:
    """The scalar or tuple that `value` is in all but its class and its own named methods."""
    if _isinstance(value, enum.Enum):
        return None
    for base in SCALARS:
        if _issubclass(kind, base):
            classes = [each for each in kind.__mro__ if not _issubclass(base, each)]
            names = {name for each in classes for name in each.__dict__}
            return base if all(name in _HARMLESS or name[:2] != "__" for name in names) else None
    return None


def _standard_name(kind: type) -> str | None:
    module = kind.__module__
    if _type(module) is not _str or module == MODULE_NAME:
        return None
    if _issubclass(kind, BaseException):
        return f"{module}.{kind.__qualname__}" if module.partition(".")[0] in TESTS_MODULES else None
    if module in STANDARD_MODULES or module in sys.stdlib_module_names or module == "numpy":
        return f"{module}.{kind.__qualname__}"
    return None


def _has(kind: type, name: str) -> bool:
    for base in kind.__mro__:
        if base is not object and name in base.__dict__:
            return base.__dict__[name] is not None
    return False


def _equality(kind: type) -> str:
    """Whose `==` the class has: object's, that of a plain container by its name, or its own."""
    if kind.__eq__ is object.__eq__ or _issubclass(kind, enum.Enum) and kind.__eq__ is enum.Enum.__eq__:
        return "object"
    base = next((base for base in PLAIN_BASES if _issubclass(kind, base) and kind.__eq__ is base.__eq__), None)
    return base.__name__ if base is not None else "own"
