"""Functions of the tests that the program may call: what it learns of one, and what stands for it there.

Its name, its docstring and its parameters, as a decorator or a `curry` looks at them; never its code, its
defaults or what it closes over.
"""

import types
from collections.abc import Callable
from typing import Any

from common.sandbox.proxies.channel import Unsupported

_REST, _OTHERS = 0x04, 0x08  # flags of a code object: it has *rest, it has **others
_MISSING = object()
_exec, _dict = exec, dict


def described(function: Any) -> list[Any]:
    """[name, docstring, parameters] of a callable of the tests. Raises: Unsupported."""
    plain = function.__func__ if type(function) is types.MethodType else function
    if type(plain) is not types.FunctionType:
        return ["callback", None, [[], 0, "arguments", [], "keywords"]]
    if vars(plain).keys() - {"__wrapped__"}:
        raise Unsupported("a function with attributes as argument")
    positional, n_unnamed, *further = _parameters(plain)
    if plain is not function:  # the object that a method is bound to
        positional, n_unnamed = positional[1:], max(0, n_unnamed - 1)
    return [plain.__name__, plain.__doc__, [positional, n_unnamed, *further]]


def _parameters(function: types.FunctionType) -> list[Any]:
    """[positional, how many of them are positional only, *rest, keyword only, **others].

    A parameter is its name and whether it may be left out; `rest` and `others` are names or None.
    """
    code = function.__code__
    n_positional, n_all = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    n_required = n_positional - len(function.__defaults__ or ())
    positional = [[name, n >= n_required] for n, name in enumerate(code.co_varnames[:n_positional])]
    named = [[name, name in (function.__kwdefaults__ or ())] for name in code.co_varnames[n_positional:n_all]]
    extra = iter(code.co_varnames[n_all:])
    rest = next(extra) if code.co_flags & _REST else None
    others = next(extra) if code.co_flags & _OTHERS else None
    return [positional, code.co_posonlyargcount, rest, named, others]


def stand_in(call: Callable[[tuple[Any, ...], dict[str, Any]], Any], description: list[Any]) -> Callable[..., Any]:
    """The program's side: a function with these parameters that hands its arguments to `call`."""
    name, doc, (positional, n_unnamed, rest, named, others) = description

    def ask(given: list[Any], more: Any, given_by_name: list[Any], more_by_name: Any) -> Any:
        arguments: list[Any] = []
        keywords = _dict(more_by_name)
        left_out = False
        for parameter, value in given:
            if value is _MISSING:
                left_out = True
            elif left_out:
                keywords[parameter] = value
            else:
                arguments.append(value)
        for parameter, value in given_by_name:
            if value is not _MISSING:
                keywords[parameter] = value
        return call((*arguments, *more), keywords)

    parameters = [_written(each) for each in positional]
    if n_unnamed:
        parameters.insert(n_unnamed, "/")
    if rest or named:
        parameters.append(f"*{rest or ''}")
    parameters += [_written(each) for each in named]
    if others:
        parameters.append(f"**{others}")
    source = (
        f"def callback({', '.join(parameters)}):\n"
        f"    return __ask__([{_pairs(positional)}], {rest or ()}, [{_pairs(named)}], {others or '()'})"
    )
    names: dict[str, Any] = {"__ask__": ask, "__missing__": _MISSING, "__name__": "__main__"}
    _exec(source, names)
    function = names["callback"]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _written(parameter: list[Any]) -> str:
    name, optional = parameter
    return f"{name}=__missing__" if optional else name


def _pairs(parameters: list[Any]) -> str:
    return ", ".join(f"({name!r}, {name})" for name, _ in parameters)
