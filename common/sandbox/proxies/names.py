"""What may cross by its name between the program and the tests: standard modules, their objects, operators.

Both sides use the lists; only the tests' side relies on them. Whatever a program claims by name is
looked up here and nowhere else, so no claim can reach an object that acts on its caller.
"""

import collections
import importlib
import sys
import types
from typing import Any

# Modules whose public classes and functions are the same objects for everybody.
STANDARD_MODULES = frozenset(
    "abc array asyncio bisect builtins calendar cmath collections collections.abc copy dataclasses datetime decimal "
    "enum fractions functools hashlib heapq http ipaddress itertools json math numbers numpy operator pathlib queue "
    "random re statistics string textwrap time types typing uuid zoneinfo".split()
)
# Modules that the tests' own process may import when the tests or the program name them.
TESTS_MODULES = STANDARD_MODULES | sys.stdlib_module_names | {"numpy", "pytest"}

# Modules whose functions are all pure. Functions of the others stay where they are, and answer as handles.
_PURE_MODULES = frozenset({"builtins", "math", "cmath", "operator"})
# Called by a test, these read or change the test's own frame, files or process, or the insides of its functions.
_ACTS_ON_CALLER = frozenset(
    f"builtins.{name}"
    for name in "breakpoint compile delattr dir eval exec exit getattr globals help input locals open print quit "
    "setattr str.format str.format_map super vars".split()
) | {"operator.attrgetter", "operator.methodcaller", "string.Formatter", "typing.ForwardRef"}

# Classes that a class of the program's may derive from and still compare, or be, as they do.
SCALARS = (tuple, int, float, str, bytes)
PLAIN_BASES = (*SCALARS, list, dict, set, frozenset, collections.deque, collections.OrderedDict, collections.Counter)

# Operators that a stand-in for an object may carry, whatever the program claims.
OPERATORS = frozenset(
    f"__{name}__"
    for name in "len iter next bool int float index complex str repr format call getitem setitem delitem enter exit "
    "neg pos abs invert round reversed contains eq ne lt le gt ge hash add radd sub rsub mul rmul truediv rtruediv "
    "floordiv rfloordiv mod rmod pow rpow and rand or ror xor rxor lshift rlshift rshift rrshift matmul rmatmul iadd "
    "isub imul itruediv ifloordiv imod ior iand ixor await aiter anext aenter aexit divmod rdivmod trunc floor ceil "
    "bytes length_hint".split()
)


class UnknownName(Exception):
    """No standard object of a kind that may cross has this name."""


def standard_object(module: str, qualified_name: str) -> Any:
    """The class or pure function that calls itself so. Raises: UnknownName."""
    parts = qualified_name.split(".")
    if module not in STANDARD_MODULES or not all(part.isidentifier() and part[0] != "_" for part in parts):
        raise UnknownName(f"{module}.{qualified_name}")
    if f"{module}.{qualified_name}" in _ACTS_ON_CALLER:
        raise UnknownName(f"{module}.{qualified_name} acts on its caller")
    standard: Any = importlib.import_module(module)
    for part in parts:
        standard = getattr(standard, part, None)
    # A module also holds what it imports: `dataclasses.builtins.exec` would be no class or function of its own.
    if _own_name(standard) != (module, qualified_name):
        raise UnknownName(f"{module}.{qualified_name}")
    if not isinstance(standard, type) and module not in _PURE_MODULES:
        raise UnknownName(f"{module}.{qualified_name}")
    return standard


def standard_class(full_name: str, kind: type = object) -> type:
    """The standard class called `module.Name`, a subclass of `kind`. Raises: UnknownName."""
    standard = standard_object(*full_name.rsplit(".", 1)) if "." in full_name else None
    if not (isinstance(standard, type) and issubclass(standard, kind)):
        raise UnknownName(full_name)
    return standard


def standard_exception(full_name: str) -> type[BaseException] | None:
    """The exception class of the standard library called `module.Name`, if the tests have its module. Raises nothing.

    A module that the tests have not imported is not imported for a claim: they cannot name its classes.
    """
    module, _, name = full_name.rpartition(".")
    exception = getattr(sys.modules.get(module), name, None) if module.split(".")[0] in TESTS_MODULES else None
    if not (isinstance(exception, type) and issubclass(exception, BaseException)) or name[0] == "_":
        return None
    return exception if (exception.__module__, exception.__qualname__) == (module, name) else None


def name_of(value: Any) -> tuple[str, str] | None:
    """(module, qualified name) under which a class or function crosses, or None."""
    name = _own_name(value)
    try:
        return name if name is not None and standard_object(*name) is value else None
    except (UnknownName, ImportError):
        return None


def _own_name(value: Any) -> tuple[str, str] | None:
    """What a class or function says that it is called."""
    kind = type(value)
    if isinstance(value, type) or kind is types.BuiltinFunctionType or kind is types.FunctionType:
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    elif kind in (types.MethodDescriptorType, types.WrapperDescriptorType):
        owner = value.__objclass__
        module, name = owner.__module__, f"{owner.__qualname__}.{value.__name__}"
    else:
        return None
    module = {"_operator": "operator", "_functools": "functools", "_bisect": "bisect"}.get(module or "", module)
    return (module, name) if type(module) is str and type(name) is str else None
