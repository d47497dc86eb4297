"""The tests' side of the connection: ask the program, rebuild what it answers, answer what it asks back."""

import builtins
import contextlib
import importlib
import sys
import types
from _thread import RLock
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any
from weakref import WeakValueDictionary, finalize

from common.sandbox.proxies.channel import Channel, Gone, ReferenceGone, Unsupported
from common.sandbox.proxies.functions import described
from common.sandbox.proxies.heap import Heap
from common.sandbox.proxies.names import SCALARS, STANDARD_MODULES, UnknownName, standard_class, standard_exception
from common.sandbox.proxies.remote import (
    MODULE,
    OBJECT_METHODS,
    ClassDescription,
    RemoteClass,
    RemoteEnumClass,
    operator_method,
    refuse_asynchronous_iteration,
)
from common.sandbox.proxies.taint import EQUALITY
from common.sandbox.turns import TURNS

TESTS = TURNS["tests"]
_OUTCOMES = ("value", "raise", "ask")
_CONTROL = (StopIteration, StopAsyncIteration, GeneratorExit)
_ITERATES = ("__next__", "send", "throw", "__anext__")
_NO_CALLS = ("name", "random", "numpy_random", "execute", "release")  # the tests' machinery, not the tests
_SCALARS = {base.__name__: base for base in SCALARS}
_CALLABLES = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
)


class Connection:
    """One program, as its tests see it. `page[0]` says whose turn it is: that of this program is `turn`."""

    def __init__(self, descriptor: int, turn: int, page: Any) -> None:
        self._turn, self._page = turn, page
        self._lock = RLock()  # tests may have threads
        self.taints: list[str] = []  # why a pass of this program would not be its own
        self.n_calls = 0
        self.namespace: dict[str, Any] = {}  # of the tests
        self.renewed: dict[str, Any] = {}  # its names that follow the program's, with what they were last bound to
        self.random_states: list[tuple[str, Callable[[], Any], Callable[[Any], None]]] = []
        self._channel = Channel(descriptor, Gone if turn == TURNS["programs"] else ReferenceGone)
        self._heap = Heap(2, self._foreign, self._local)
        self._objects: dict[int, Any] = {}
        # Generators of which the tests let go end, unless the program holds them too.
        self._generators: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._classes: dict[int, RemoteClass] = {}
        self._descriptions: dict[int, ClassDescription] = {}
        self._handles: dict[int, int] = {}  # by id() of objects that are kept in _objects or _classes
        self._callbacks: dict[int, Any] = {}
        self._callback_numbers: dict[int, int] = {}
        self._raised: dict[int, BaseException] = {}

    def ready(self) -> tuple[list[str] | None, list[str], dict[str, str]]:
        """(failure, names, modules) of the program once it ran. Raises: Gone."""
        self._page[0] = self._turn
        message = self._channel.receive()
        self._page[0] = TESTS
        match message:
            case ["ready", None | list() as failure, list(names), dict(modules)] if (
                all(type(text) is str for text in [*(failure or []), *names, *modules, *modules.values()])
                and len(failure or [""] * 4) == 4
            ):
                return failure, names, modules
        raise Gone("a beginning that no sandbox writes")

    # What objects that stand for the program's ask of the connection: see remote.Link.

    def add_taint(self, reason: str) -> None:
        self.taints.append(reason)

    def is_of_program(self, value: Any) -> bool:
        return id(value) in self._handles

    def handle(self, value: Any) -> int:
        return self._handles[id(value)]

    def is_named_in_tests(self, kind: type) -> bool:
        """Whether the tests mean this class by its name. One in lower case may stand where they mean a function."""
        return self.namespace.get(kind.__name__) is kind and kind.__name__.lstrip("_")[:1].isupper()

    def raised_by_program(self, error: BaseException) -> bool:
        return id(error) in self._raised

    def call(self, operation: str, handle: int | None, /, *arguments: Any, **keywords: Any) -> Any:
        """Have the program do something. Raises: what it raised; Unsupported; Gone."""
        with self._lock:
            return self._call_in_step(operation, handle, arguments, keywords)

    def _call_in_step(self, operation: str, handle: int | None, arguments: Any, keywords: Any) -> Any:
        if not self.random_states or operation in ("name", "random", "numpy_random"):
            return self._call(operation, handle, arguments, keywords)
        states, self.random_states = self.random_states, []
        try:  # tests and program draw from one stream, as they would in one process
            for name, get_state, _ in states:
                self._call(name, None, (get_state(),), {})
            return self._call(operation, handle, arguments, keywords)
        finally:
            for name, _, set_state in states:
                set_state(self._call(name, None, (), {}))
            self.random_states = states

    def _call(self, operation: str, handle: int | None, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        self.n_calls += operation not in _NO_CALLS
        nodes, changed = self._pack(operation, handle, arguments, tuple(keywords.items()))
        self._page[0] = self._turn
        self._channel.send(["do", nodes, changed])
        while True:
            outcome, value = self._receive()
            if outcome == "value":
                return value
            if outcome == "raise":
                self._note_error(value, operation, arguments)
                raise value
            self._answer(value)

    def _pack(self, *values: Any) -> tuple[list[Any], dict[str, Any]]:
        try:
            return self._heap.pack(*values)
        except (RecursionError, MemoryError):
            raise Unsupported("a value of the tests is too deep or too large to pass on") from None

    def _receive(self) -> tuple[str, Any]:
        message = self._channel.receive()
        self._page[0] = TESTS
        match message:
            case ["unsupported", str(reason)]:
                raise Unsupported(f"the program's value: {reason:.200}")
            case [str(outcome), list(nodes), dict(changed), dict(classes), str(text), list(dropped)] if (
                outcome in _OUTCOMES and all(number.isdecimal() for number in classes)
            ):
                for number, words in classes.items():
                    self._descriptions[int(number)] = ClassDescription.checked(words)
                if text:
                    sys.stdout.write(text)
                value, *rebound = self._heap.unpack(nodes, changed)
                self._heap.drop([each for each in dropped if type(each) is str])
                if rebound and type(rebound[0]) is dict:
                    self._renew(rebound[0])
                return outcome, value
        raise Gone("a message that no sandbox writes")

    def _renew(self, rebound: dict[Any, Any]) -> None:
        """Follow the program's bindings, unless the tests have bound the name themselves in the meantime."""
        for name in self.renewed.keys() & rebound.keys():
            if self.namespace.get(name) is self.renewed[name]:
                self.namespace[name] = self.renewed[name] = rebound[name]

    def _note_error(self, error: Any, operation: str, arguments: tuple[Any, ...]) -> None:
        if not isinstance(error, BaseException):
            raise Gone("an error that is none")
        iterates = operation == "operator" and arguments[0] in _ITERATES
        if not iterates and (isinstance(error, _CONTROL) or type(error).__name__ == "CancelledError"):
            self.add_taint(f"{type(error).__name__} from a call, which ends loops of the tests")
        if id(error) not in self._callback_numbers:  # the tests' own comes back from a callback as itself
            self._raised[id(error)] = error

    def _answer(self, question: Any) -> None:
        """Answer what the program asks while one of our calls is running."""
        try:
            answer = True, self._do(*question)
        except Exception as error:
            if isinstance(error, AssertionError) and not self.raised_by_program(error):
                self.add_taint("an assertion failed inside a callback")
            nearest = next(base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins")
            # No text: the message of an assertion holds what is expected.
            answer = False, error if self.is_of_program(error) else (nearest, self._callback_number(error))
        nodes, changed = self._pack(*answer)
        self._page[0] = self._turn
        self._channel.send(["answer", nodes, changed])

    def _do(self, what: Any, *arguments: Any) -> Any:
        if what == "input":
            return builtins.input(*arguments)
        if what == "readline":
            return sys.stdin.readline(*arguments)
        if what == "read":
            return sys.stdin.read(*arguments)
        number, *rest = arguments
        if what == "next":
            return next(self._callbacks[number])
        if what == "callback":
            positional, keywords = rest
            return self._callbacks[number](*positional, **dict(keywords))
        raise Gone("a question that no sandbox asks")

    def _foreign(self, value: Any) -> list[Any]:
        """What goes to the program that is no value: its own objects, functions and iterators of the tests."""
        if id(value) in self._handles:
            return ["handle", self._handles[id(value)]]
        if isinstance(value, Iterator):
            return ["iterator", self._callback_number(value)]
        if isinstance(value, _CALLABLES) or (callable(value) and type(value).__module__ in STANDARD_MODULES):
            return ["callback", self._callback_number(value), described(value)]
        if isinstance(value, type):
            raise Unsupported(f"a class of the tests as argument: {value.__name__}")
        raise Unsupported(f"an argument of class {type(value).__name__}")

    def _callback_number(self, function: Any) -> int:
        number = self._callback_numbers.setdefault(id(function), len(self._callbacks))
        self._callbacks[number] = function
        return number

    def _local(self, node: list[Any]) -> Any:
        """What the program says of something that is no value."""
        tag, number, *rest = node
        if tag == "module":
            if number not in STANDARD_MODULES:
                raise Unsupported(f"the module {number:.50} as a value")
            return importlib.import_module(number)
        if tag == "callback":
            return self._callbacks[number]
        if tag == "class":
            return self._class(number)
        if tag == "generator":
            return self._generators.get(number) or self._new_generator(number)
        if number not in self._objects:
            build = {
                "object": self._object,
                "coroutine": self._coroutine,
                "exception": self._exception,
                "subclass": self._subclass_value,
            }
            value = build[tag](number, *rest)
            self._handles[id(value)] = number
            self._objects[number] = value
        return self._objects[number]

    def _class(self, number: int) -> RemoteClass:
        if number not in self._classes:
            made = self._build_class(self._descriptions[number])
            self._handles[id(made)] = number
            self._classes[number] = made
        return self._classes[number]

    def _build_class(self, described: ClassDescription) -> RemoteClass:
        bases = tuple(self._bases(described))
        names: dict[str, Any] = {"__module__": MODULE, "__qualname__": described.qualified_name}
        if described.is_exception:
            names["__getattr__"] = lambda error, name: self.call("get", self._handles[id(error)], name)
            for text in ("__str__", "__repr__"):
                names[text] = lambda error, text=text: self.call("operator", self._handles[id(error)], text)
        else:
            names |= OBJECT_METHODS
            names |= {name: operator_method(name) for name in described.operators if self._is_asked(name, described)}
            if described.unhashable:
                names["__hash__"] = None
            names["_phantom"] = self._phantom(described)
            if "__aiter__" in described.operators:
                names["__aiter__"] = refuse_asynchronous_iteration
        meta = RemoteEnumClass if described.is_enum else RemoteClass
        return meta(described.name, bases, names, link=self, description=described)

    @staticmethod
    def _is_asked(name: str, described: ClassDescription) -> bool:
        if name in EQUALITY:
            return described.equality != "object"
        return name not in ("__str__", "__repr__", "__aiter__", "__anext__")

    def _bases(self, described: ClassDescription) -> Iterator[type]:
        """What the class derives from directly: the program's own classes, and exceptions of the standard library."""
        ancestors = described.ancestors
        for base in ancestors:
            inherited = any(base in self._descriptions[other].ancestors for other in ancestors if other != base)
            if not inherited and (made := self._base(base)) is not None:
                yield made

    def _base(self, number: int) -> type | None:
        described = self._descriptions[number]
        if described.is_exception:
            return self._exception_class(number)
        return self._class(number) if described.standard is None else None

    def _exception_class(self, number: int) -> type[BaseException]:
        """The class itself if the tests can name it, else what stands for it."""
        described = self._descriptions[number]
        standard = standard_exception(described.standard) if described.standard else None
        made: Any = standard or self._class(number)
        if not issubclass(made, BaseException):
            raise Gone("an exception that is none")
        return made

    def _phantom(self, described: ClassDescription) -> type | None:
        if described.standard is not None:
            return None
        for base in described.ancestors:
            name = self._descriptions[base].standard
            if name and name.startswith(("builtins.", "collections.", "enum.")):
                with contextlib.suppress(UnknownName, TypeError):  # one that nothing may derive from
                    phantom = types.new_class(described.name, (standard_class(name),))
                    phantom.__module__ = MODULE
                    return phantom
        return None

    def _object(self, _number: int, kind: int) -> Any:
        return object.__new__(self._class(kind))

    def _new_generator(self, number: int) -> Generator[Any, Any, Any]:
        made = self._generator(number)
        self._generators[number] = made
        self._handles[id(made)] = number
        finalize(made, self._release, number, id(made)).atexit = False
        return made

    def _release(self, number: int, identity: int) -> None:
        del self._handles[identity]
        self.call("release", number)

    def _generator(self, number: int) -> Generator[Any, Any, Any]:
        def generator() -> Generator[Any, Any, Any]:
            sent = None
            try:
                while True:
                    try:
                        operation = ("__next__",) if sent is None else ("send", sent)
                        item = self.call("operator", number, *operation)
                    except StopIteration as end:
                        return end.value
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except Exception:
                        raise Unsupported("a test throws an exception into a generator of the program") from None
            except GeneratorExit:
                if self._generators.get(number) is not None:  # closed by the tests, which still hold it
                    self.call("operator", number, "close")
                raise

        return generator()

    def _coroutine(self, number: int, _kind: int) -> Coroutine[Any, Any, Any]:
        async def coroutine() -> Any:
            return self.call("await", number)

        return coroutine()

    def _exception(
        self, _number: int, kind: int, arguments: list[Any], cut: bool, attributes: list[Any], cause: Any
    ) -> BaseException:
        if cut:
            self.add_taint("the text of an exception was cut")
        values = [self._heap.decode(argument) for argument in arguments]
        made: Any = self._exception_class(kind)
        error = made.__new__(made, *values)
        error.args = tuple(values)
        if made.__module__ == "builtins":
            with contextlib.suppress(Exception):  # the program has changed its arguments since it was made
                error = made(*values)
        if not isinstance(made, RemoteClass):
            vars(error).update({str(name): self._heap.decode(node) for name, node in attributes})
        because = self._heap.decode(cause)
        if because is not None:
            error.__cause__ = because
        return error

    def _subclass_value(self, number: int, kind: int, plain: Any, base: str) -> Any:
        """A namedtuple, say: a real tuple here, whose further attributes are asked for."""
        value = self._heap.decode(plain)
        if type(value) is not _SCALARS[base]:
            raise Gone("a value that is not of its base class")
        made = self._class(kind)
        names: dict[str, Any] = {
            "__getattr__": lambda _self, name: self.call("get", number, name),
            "__class__": property(lambda _self: made),
            "__repr__": lambda _self: self.call("operator", number, "__repr__"),
        }
        if base != "str" and "__str__" in self._descriptions[kind].operators:
            names["__str__"] = lambda _self: self.call("operator", number, "__str__")
        kind_here: Any = type(made.__name__, (_SCALARS[base],), names)
        return kind_here.__new__(kind_here, value)
