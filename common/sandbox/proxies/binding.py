"""Which names of the program the tests see, and as what."""

import builtins
import contextlib
import importlib
import random
import sys
from typing import Any

from common.sandbox.proxies.link import Connection
from common.sandbox.proxies.names import TESTS_MODULES
from common.sandbox.proxies.reading import ReadTests, judged_by_the_program, refuse_patches


def bind(
    namespace: dict[str, Any],
    tests: ReadTests,
    entry_point: str | None,
    link: Connection,
    names: list[str],
    modules: dict[str, str],
) -> None:
    """Put the program's names that the tests use into their `namespace`.

    1. Functions, classes and objects come as what stands for them, constants as values that are renewed.
    2. A module of the program's is imported here: nobody can have patched it.
    3. A builtin that the program shadows stays the builtin, unless it is what the tests are about.
    4. What the tests bind themselves they bind by running: it replaces the program's.

    `names`, `modules`: all names of the program; those of its modules with what they name.
    Raises: Unsupported for tests that replace what the program would not see.
    """
    refuse_patches(tests, modules)
    own = [name for name in names if name in tests.used and name not in modules]
    shadowing = {name for name in own if hasattr(builtins, name)}
    if judged_by_the_program(tests, frozenset(own) - tests.bound - shadowing):
        link.add_taint("a function of the program judges another of its answers")
    link.namespace = namespace
    for name, module in modules.items():
        if name in tests.used and not hasattr(builtins, name) and module.split(".")[0] in TESTS_MODULES:
            with contextlib.suppress(ImportError):
                namespace[name] = importlib.import_module(module)
    for name in own:
        if name not in shadowing or name == entry_point or _is_alone(own, shadowing, tests, entry_point):
            namespace[name] = link.call("name", 0, name)
    if "*" not in tests.bound:  # which binds nobody knows what
        link.renewed = {name: namespace[name] for name in own if name in namespace and name not in tests.bound}
    if entry_point in names:
        namespace.setdefault(entry_point, link.call("name", 0, entry_point))
        namespace.setdefault("candidate", namespace[entry_point])
    if tests.imports:  # they count for the program, as they would in one process
        link.call("execute", 0, tests.imports)
    if tests.seeds:
        _share_random_numbers(link, modules)


def _is_alone(own: list[str], shadowing: set[str], tests: ReadTests, entry_point: str | None) -> bool:
    """Whether the tests use no other name of the program, so that they can only mean the shadowing one."""
    return entry_point is None and not any(name not in shadowing and name not in tests.bound for name in own)


def _share_random_numbers(link: Connection, modules: dict[str, str]) -> None:
    """Where tests seed a generator that the program draws from, both draw from one stream."""
    if "random" in modules.values():
        link.random_states.append(("random", random.getstate, random.setstate))
    if "numpy" in modules.values() and "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        link.random_states.append(("numpy_random", numpy.random.get_state, numpy.random.set_state))
