"""What may cross by its name between the program and the tests: standard modules, their objects, operators.

Both sides use the lists; only the tests' side relies on them. Whatever a program claims by name is
looked up here and nowhere else, so no claim can reach an object that acts on its caller.
"""

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

# Called by a test, these read or change the test's own frame, files or process.
_ACTS_ON_CALLER = frozenset(
    "breakpoint compile delattr dir eval exec exit getattr globals help input locals open print quit setattr "
    "vars".split()
)

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
    """A class or function of a standard module. Raises: UnknownName."""
    parts = qualified_name.split(".")
    if module not in STANDARD_MODULES or not all(part.isidentifier() and part[0] != "_" for part in parts):
        raise UnknownName(f"{module}.{qualified_name}")
    if module == "builtins" and parts[0] in _ACTS_ON_CALLER:
        raise UnknownName(f"{module}.{qualified_name} acts on its caller")
    found: Any = importlib.import_module(module)
    for part in parts:
        found = getattr(found, part, None)
    if found is None or isinstance(found, types.ModuleType):
        raise UnknownName(f"{module}.{qualified_name}")
    return found


def standard_class(full_name: str, kind: type = object) -> type:
    """The standard class called `module.Name`, a subclass of `kind`. Raises: UnknownName."""
    found = standard_object(*full_name.rsplit(".", 1)) if "." in full_name else None
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise UnknownName(full_name)
    return found


def name_of(value: Any) -> tuple[str, str] | None:
    """(module, qualified name) under which a class or function crosses, or None."""
    kind = type(value)
    if isinstance(value, type) or kind is types.BuiltinFunctionType or kind is types.FunctionType:
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    elif kind in (types.MethodDescriptorType, types.WrapperDescriptorType):
        owner = value.__objclass__
        module, name = owner.__module__, f"{owner.__qualname__}.{value.__name__}"
    else:
        return None
    module = {"_operator": "operator", "_functools": "functools", "_bisect": "bisect"}.get(module or "", module)
    if type(module) is not str or type(name) is not str:
        return None
    try:
        return (module, name) if standard_object(module, name) is value else None
    except (UnknownName, ImportError):
        return None
