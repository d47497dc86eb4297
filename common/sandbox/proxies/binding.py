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

_MOST_BLOCKS = 1000  # of 624 words, that a call of the program may draw


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
        if entry_point not in namespace:
            namespace[entry_point] = link.call("name", 0, entry_point)
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
        link.random_states.append(("random", random.getstate, _Followed(link, random.getstate, random.setstate)))
    if "numpy" in modules.values() and "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        get_state, set_state = numpy.random.get_state, numpy.random.set_state
        link.random_states.append(("numpy_random", get_state, _Followed(link, get_state, set_state)))


class _Followed:
    """Sets the tests' random state to the program's. One that chose it chose what later tests ask: tainted."""

    def __init__(self, link: Connection, get_state: Any, set_state: Any) -> None:
        self.link, self.get_state, self.set_state = link, get_state, set_state

    def __call__(self, state: Any) -> None:
        if not _only_drew(_words(self.get_state()), _words(state)):
            self.link.add_taint("the program sets the random numbers of the tests")
        self.set_state(state)


def _words(state: Any) -> list[int]:
    """The 624 words of a Mersenne Twister and its position in them, as `random` or numpy gives them."""
    return list(state[1]) if len(state) == 3 else [*map(int, state[1]), state[2]]


def _only_drew(before: list[int], after: list[int]) -> bool:
    """Whether drawing numbers leads from one state to the other."""
    if before[:-1] == after[:-1]:
        return before[-1] <= after[-1]
    generator = random.Random()
    generator.setstate((3, tuple(before), None))
    for _ in range(_MOST_BLOCKS):
        generator.getrandbits(32 * (len(before) - 1))
        if list(generator.getstate()[1][:-1]) == after[:-1]:
            return True
    return False
