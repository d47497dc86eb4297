"""The program's side: run the program, then do what the tests ask and answer with values. Never holds an answer."""

import builtins
import contextlib
import io
import operator
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from common.sandbox.executing import execute, module_names
from common.sandbox.proxies.channel import Channel, Unsupported
from common.sandbox.proxies.describing import Handles, plain_copy
from common.sandbox.proxies.functions import stand_in
from common.sandbox.proxies.heap import Heap

_type, _BaseException, _getattr, _setattr, _vars, _dict = type, BaseException, getattr, setattr, vars, dict
_SPECIAL: dict[str, Callable[..., Any]] = {
    "__iter__": iter,
    "__next__": next,
    "__len__": len,
    "__bool__": bool,
    "__str__": str,
    "__repr__": repr,
    "__hash__": hash,
    "__format__": format,
    "__reversed__": reversed,
    "__int__": int,
    "__float__": float,
    "__complex__": complex,
    "__bytes__": bytes,
    "__divmod__": divmod,
    "__round__": round,
}


class Answerer:
    """Serves one program."""

    def __init__(self, descriptor: int) -> None:
        self._channel = Channel(descriptor)
        self._handles = Handles()
        self._heap = Heap(1, self._handles.foreign, self._local)
        self._handles.heap = self._heap
        self._names: dict[str, Any] = {}
        self._watched: dict[str, Any] = {}  # names that the tests use, with the values that they know
        self._callbacks: dict[int, Any] = {}
        self._depth = 0  # of questions to the tests that are waiting for an answer
        self._output = io.StringIO()

    def run(self, code: str, given: str) -> None:
        """Run the program and what the tests' setup defines for it, say what it defined, then serve for ever."""
        self._names = module_names()
        sys.stdout = self._output
        builtins.input = self._input
        sys.stdin = _StandardInput(self._ask)
        failure = execute(code, "<code>", self._names) or execute(given, "<setup>", self._names)
        self._take_output()
        names = [name for name in self._names if _type(name) is str and name != "__builtins__"]
        modules = {name: value.__name__ for name, value in self._names.items() if _type(value) is types.ModuleType}
        self._channel.send(["ready", failure, names, modules])
        while True:
            self._serve(self._channel.receive())

    def _serve(self, message: list[Any]) -> None:
        _, nodes, changed = message
        operation, handle, arguments, keywords = self._heap.unpack(nodes, changed)
        target: Any = None
        try:
            if handle is not None:
                target = self._names if handle == 0 else self._handles.objects[handle]
            if operation == "call":
                result, outcome = target(*arguments, **_dict(keywords)), "value"
            else:
                result, outcome = _getattr(self, "_do_" + operation)(target, *arguments), "value"
        except _BaseException as error:
            result, outcome = error.with_traceback(None), "raise"
            result.__context__ = None
        del arguments, keywords, nodes, changed, message, target  # what only the table holds must be seen to be so
        self._reply(outcome, result)

    def _reply(self, outcome: str, result: Any) -> None:
        try:
            rebound = {
                name: self._names[name]
                for name, known in self._watched.items()
                if name in self._names and self._names[name] is not known
            }
            self._watched.update(rebound)
            nodes, changed = self._heap.pack(result, rebound) if rebound else self._heap.pack(result)
            del rebound, result
            dropped = [] if self._depth else self._heap.drop_unheld()
            self._channel.send([outcome, nodes, changed, self._new_classes(), self._take_output(), dropped])
        except Unsupported as error:
            self._channel.send(["unsupported", str(error)])
        except (RecursionError, MemoryError):
            self._channel.send(["unsupported", "a value is too deep or too large to pass on"])

    def _new_classes(self) -> dict[str, Any]:
        return {str(number): words for number, words in self._handles.take_new_classes().items()}

    def _take_output(self) -> str:
        text = self._output.getvalue()
        if text:
            self._output.seek(0)
            self._output.truncate()
        return text

    def _ask(self, *question: Any) -> Any:
        """Ask the tests while one of their calls is running. Raises: what their answer raised."""
        nodes, changed = self._heap.pack(question)
        self._channel.send(["ask", nodes, changed, self._new_classes(), self._take_output(), []])
        self._depth += 1
        try:
            while True:
                message = self._channel.receive()
                if message[0] == "answer":
                    answered, value = self._heap.unpack(message[1], message[2])
                    break
                self._serve(message)
        finally:
            self._depth -= 1
        if answered:
            return value
        raise self._stand_in(*value) if _type(value) is tuple else value

    def _stand_in(self, nearest: str, number: int) -> BaseException:
        """For an exception of the tests: as itself it goes back to them, and here nothing of it is known."""
        error = self._callbacks[number] = _getattr(builtins, nearest, Exception)()
        self._handles.callbacks[id(error)] = number
        return error

    def _input(self, prompt: object = "", /) -> str:
        return self._ask("input", str(prompt))

    def _local(self, node: list[Any]) -> Any:
        kind, number, *description = node
        if kind == "handle":
            return self._handles.objects[number]
        if number not in self._callbacks:
            made = self._iterator(number) if kind == "iterator" else self._callback(number, *description)
            self._callbacks[number] = made
            self._handles.callbacks[id(self._callbacks[number])] = number
        return self._callbacks[number]

    def _callback(self, number: int, description: list[Any]) -> Callable[..., Any]:
        def call(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            return self._ask("callback", number, arguments, tuple(keywords.items()))

        return stand_in(call, description)

    def _iterator(self, number: int) -> Iterator[Any]:
        while True:
            try:
                item = self._ask("next", number)
            except StopIteration:
                return
            yield item

    # What the tests may ask for, by its name. `target` is the object; the module's names for handle 0.

    def _do_get(self, target: Any, name: str) -> Any:
        return _getattr(target, name)

    def _do_set(self, target: Any, name: str, value: Any) -> None:
        _setattr(target, name, value)

    def _do_delete(self, target: Any, name: str) -> None:
        delattr(target, name)

    def _do_release(self, target: Any) -> None:
        self._handles.release(target)

    def _do_vars(self, target: Any) -> dict[str, Any]:
        return _dict(_vars(target))

    def _do_dir(self, target: Any) -> list[str]:
        return dir(target)

    def _do_name(self, target: dict[str, Any], name: str) -> Any:
        self._watched[name] = target[name]
        return target[name]

    def _do_execute(self, target: dict[str, Any], source: str) -> None:
        """Imports of the tests. What is not here they will miss themselves: it is no fault of the program."""
        with contextlib.suppress(ImportError):
            exec(compile(source, "<setup>", "exec", dont_inherit=True), target)

    def _do_plain(self, target: Any) -> Any:
        return plain_copy(target)

    def _do_random(self, _target: Any, state: Any = None) -> Any:
        if state is not None:
            random.setstate(state)
        return random.getstate()

    def _do_numpy_random(self, _target: Any, state: Any = None) -> Any:
        numpy = sys.modules["numpy"]
        if state is not None:
            numpy.random.set_state(state)
        return numpy.random.get_state()

    def _do_await(self, target: Any) -> Any:
        import asyncio

        async def result() -> Any:
            return await target

        return asyncio.run(result())

    def _do_signature(self, target: Any) -> list[Any]:
        import inspect

        return [
            (parameter.name, int(parameter.kind), [] if parameter.default is parameter.empty else [parameter.default])
            for parameter in inspect.signature(target).parameters.values()
        ]

    def _do_operator(self, target: Any, name: str, *others: Any) -> Any:
        function = _SPECIAL.get(name) or _getattr(operator, name, None) or _getattr(_type(target), name, None)
        if function is None:  # an iterator's own method, as `send` of a generator
            return _getattr(target, name)(*others)
        return function(target, *others)


class _StandardInput(io.TextIOBase):
    """Reads whatever is standard input for the tests at that moment."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask_tests = ask

    def readable(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        return self._ask_tests("readline", -1 if size is None else size)

    def read(self, size: int | None = -1, /) -> str:
        return self._ask_tests("read", -1 if size is None else size)
