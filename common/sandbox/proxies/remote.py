"""The tests' side: real classes and objects that stand for the program's.

The program's description of a class becomes a class here, so that isinstance, except, pytest.raises, `is` and
type(x).__name__ are plain Python. What such an object does is asked for through the link.
"""

import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from common.sandbox.proxies.channel import Gone, Unsupported
from common.sandbox.proxies.names import OPERATORS, PLAIN_BASES, UnknownName, standard_class
from common.sandbox.proxies.taint import ARITHMETIC, EQUALITY, ORDER, ordered_by_a_comparison, says_yes_to_everything

MODULE = "program"
_PLAIN = frozenset(base.__name__ for base in PLAIN_BASES)
_ABSENT = frozenset(
    "__signature__ __text_signature__ __wrapped__ __set_name__ __abstractmethods__ __code__ __globals__ __array__ "
    "__array_interface__ __array_struct__ __array_priority__ __array_function__ __array_ufunc__ __index__ __fspath__ "
    "__len__ __iter__ _mock_methods".split()
)
_FUNCTIONS = {
    "builtins.function": types.FunctionType,
    "builtins.method": types.MethodType,
    "builtins.builtin_function_or_method": types.BuiltinFunctionType,
}


class Link(Protocol):
    """What an object here needs of the connection."""

    def call(self, operation: str, handle: int | None, /, *arguments: Any, **keywords: Any) -> Any: ...
    def add_taint(self, reason: str) -> None: ...
    def handle(self, value: Any) -> int: ...
    def is_named_in_tests(self, kind: type) -> bool: ...
    def raised_by_program(self, error: BaseException) -> bool: ...


@dataclass(frozen=True)
class ClassDescription:
    """What the program says of a class. Every field has been checked for its kind."""

    name: str
    qualified_name: str
    standard: str | None
    ancestors: tuple[int, ...]
    operators: tuple[str, ...]
    equality: str  # object, own, or a plain container whose == it has
    unhashable: bool
    is_exception: bool
    is_enum: bool

    @classmethod
    def checked(cls, words: Any) -> "ClassDescription":
        """Raises: Gone for what no sandbox would write."""
        match words:
            case [
                str(name),
                str(qualified),
                None | str() as standard,
                list(ancestors),
                list(operators),
                str(equality),
                bool(unhashable),
                bool(is_exception),
                bool(is_enum),
            ] if (
                all(type(number) is int for number in ancestors)
                and OPERATORS.issuperset(operators)
                and (equality in _PLAIN or equality in ("object", "own"))
                and name.isidentifier()
            ):
                flags = (unhashable, is_exception, is_enum)
                return cls(name, qualified, standard, tuple(ancestors), tuple(operators), equality, *flags)
        raise Gone("a class that no sandbox describes")


class RemoteClass(type):
    """The class of classes that stand for the program's."""

    def __new__(mcs, name: str, bases: tuple[type, ...], names: dict[str, Any], **options: Any) -> "RemoteClass":
        if "link" not in options:
            raise Unsupported("a test derives a class from one of the program's")
        made = type.__new__(mcs, name, bases, names)
        type.__setattr__(made, "_link", options["link"])
        type.__setattr__(made, "_description", options["description"])
        return made

    def __init__(cls, *_arguments: Any, **_options: Any) -> None:
        pass

    def __call__(cls, /, *arguments: Any, **keywords: Any) -> Any:
        return _link(cls).call("call", _link(cls).handle(cls), *arguments, **keywords)

    def __getattr__(cls, name: str) -> Any:
        if name in _ABSENT or name.startswith("_abc_"):
            raise AttributeError(name)
        return _link(cls).call("get", _link(cls).handle(cls), name)

    def __setattr__(cls, name: str, value: Any) -> None:
        _link(cls).call("set", _link(cls).handle(cls), name, value)

    def __eq__(cls, other: object) -> bool:
        """A class of the standard library that came as a description is that class."""
        return cls is other or (
            isinstance(other, type) and any(other is each for each in (standard_of(cls), phantom_of(cls)))
        )

    __hash__ = type.__hash__


class RemoteEnumClass(RemoteClass):
    """An enumeration of the program's: a container of its members."""

    def __iter__(cls) -> Iterator[Any]:
        return iter(_link(cls).call("operator", _link(cls).handle(cls), "__iter__"))

    def __len__(cls) -> int:
        return _link(cls).call("operator", _link(cls).handle(cls), "__len__")

    def __getitem__(cls, name: str) -> Any:
        return _link(cls).call("operator", _link(cls).handle(cls), "__getitem__", name)

    def __contains__(cls, member: object) -> bool:
        return _link(cls).call("operator", _link(cls).handle(cls), "__contains__", member)


def _link(kind: type) -> Link:
    return type.__getattribute__(kind, "_link")


def description_of(kind: type) -> ClassDescription:
    return type.__getattribute__(kind, "_description")


def standard_of(kind: type) -> type | None:
    """The standard class that a described one is, if it is one that may cross by its name."""
    name = description_of(kind).standard
    try:
        return standard_class(name) if name else None
    except (UnknownName, ImportError):
        return None


def is_remote(value: Any) -> bool:
    """Whether `value` is the program's: an object or class that stands for one of its own."""
    return isinstance(type(value), RemoteClass) or isinstance(value, RemoteClass)


def _ask(self: Any, operation: str, *arguments: Any) -> Any:
    link = _link(type(self))
    return link.call(operation, link.handle(self), *arguments)


def get_attribute(self: Any, name: str) -> Any:
    standard = description_of(type(self)).standard
    if name == "__signature__" and standard in _FUNCTIONS:
        return _signature(self)
    if name == "__code__" and standard == "builtins.function":
        return _ask(self, "get", name)
    if name == "__dataclass_fields__":
        raise Unsupported("a test asks for the fields of a dataclass of the program")
    if name in _ABSENT:
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
    return _ask(self, "get", name)


def _signature(self: Any) -> inspect.Signature:
    kinds = list(inspect._ParameterKind)
    return inspect.Signature(
        [
            inspect.Parameter(name, kinds[kind], default=default[0] if default else inspect.Parameter.empty)
            for name, kind, default in _ask(self, "signature")
        ]
    )


def _refuse_copy(self: Any, *_arguments: Any) -> Any:
    raise Unsupported("a test copies an object of the program")


def refuse_asynchronous_iteration(_self: Any) -> Any:
    raise Unsupported("a test iterates asynchronously over an object of the program")


def _class_of(self: Any) -> type:
    return (
        _FUNCTIONS.get(description_of(type(self)).standard or "")
        or standard_of(type(self))
        or phantom_of(type(self))
        or type(self)
    )


def phantom_of(kind: type) -> type | None:
    """For isinstance alone: a subclass of the standard class that the program's class derives from.

    The object itself must not be one: C code would read the empty container in it, past its operators.
    """
    return kind.__dict__.get("_phantom")


class _Documentation:
    """`__doc__` of an object or of its class, which every class of ours would answer itself."""

    def __get__(self, instance: Any, kind: type) -> Any:
        asked = kind if instance is None else instance
        link = _link(kind)
        return link.call("get", link.handle(asked), "__doc__")


OBJECT_METHODS: dict[str, Any] = {
    "__slots__": (),
    "__doc__": _Documentation(),
    "__getattr__": get_attribute,
    "__setattr__": lambda self, name, value: _ask(self, "set", name, value),
    "__delattr__": lambda self, name: _ask(self, "delete", name),
    "__dict__": property(lambda self: _ask(self, "vars")),
    "__dir__": lambda self: _ask(self, "dir"),
    "__class__": property(_class_of),
    "__reduce_ex__": _refuse_copy,
    "__deepcopy__": _refuse_copy,
    "__copy__": _refuse_copy,
    "__str__": lambda self: _ask(self, "operator", "__str__"),
    "__repr__": lambda self: _ask(self, "operator", "__repr__"),
    "__hash__": object.__hash__,
}


def call_object(self: Any, /, *arguments: Any, **keywords: Any) -> Any:
    link = _link(type(self))
    return link.call("call", link.handle(self), *arguments, **keywords)


def operator_method(name: str) -> Callable[..., Any]:
    """The method for one operator: taints where the program's class would decide, then asks."""
    if name == "__call__":
        return call_object
    decide = _RULES.get(name)

    def method(self: Any, *others: Any) -> Any:
        if decide is not None:
            answer = decide(self, name, *others)
            if answer is not _ASK:
                return answer
        return _ask(self, "operator", name, *others)

    method.__name__ = name
    return method


_ASK = object()


def _equal(self: Any, name: str, other: Any) -> Any:
    kind = type(self)
    link, description = _link(kind), description_of(kind)
    if is_remote(other):
        if description.equality in _PLAIN and description_of(type(other)).equality == description.equality:
            return _plain_equal(name, _ask(self, "plain"), _ask(other, "plain"))
        link.add_taint(f"{name} of the program's class {description.name}")
        return _ASK
    if description.equality in _PLAIN:  # its items are values; comparing them is done here
        return _plain_equal(name, _ask(self, "plain"), other)
    if other is None and not link.is_named_in_tests(kind):
        return NotImplemented
    if says_yes_to_everything(lambda stranger: _ask(self, "operator", name, stranger), name):
        return NotImplemented  # equal to everything is equal to nothing
    link.add_taint(f"{name} of the program's class {description.name} against a value of the tests")
    return _ASK


def _plain_equal(name: str, mine: Any, other: Any) -> bool:
    return (mine == other) if name == "__eq__" else (mine != other)


def _order(self: Any, name: str, other: Any) -> Any:
    if not is_remote(other) or ordered_by_a_comparison():
        _link(type(self)).add_taint(f"{name} of the program's class {type(self).__name__}")
    return _ASK


def _calculate(self: Any, name: str, *others: Any) -> Any:
    if not all(map(is_remote, others)):
        _link(type(self)).add_taint(f"{name} of the program's class {type(self).__name__} with a value of the tests")
    return _ASK


def _contains(self: Any, name: str, other: Any) -> Any:
    link = _link(type(self))
    if not is_remote(other) and not link.is_named_in_tests(type(self)):
        link.add_taint(f"{name} of the program's class {type(self).__name__}")
    return _ASK


def _exit(self: Any, name: str, kind: Any, error: Any, traceback: Any) -> Any:
    """The program learns no more of an exception of the tests than its builtin class."""
    link = _link(type(self))
    if error is None:
        return link.call("operator", link.handle(self), name, None, None, None)
    of_program = link.raised_by_program(error)
    shown = type(error) if type(error).__module__ == "builtins" and not of_program else Exception
    arguments = (type(error), error, None) if of_program else (shown, None, None)
    swallowed = link.call("operator", link.handle(self), name, *arguments)
    if swallowed and not of_program:
        link.add_taint("the program swallowed an exception of the tests")
    return swallowed


_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(EQUALITY, _equal),
    **dict.fromkeys(ORDER, _order),
    **dict.fromkeys(ARITHMETIC, _calculate),
    "__contains__": _contains,
    "__exit__": _exit,
}
