"""Run source beside candidate code, in a module of its own, and say how it failed.

Nothing here is trusted: a program may tamper with it. What is needed afterwards is bound before any program runs.
"""

import ast
import builtins
import contextlib
import sys
import types
from typing import Any

MODULE_NAME = "candidate"

_type, _str, _BaseException = type, str, BaseException
_BUILTIN_EXCEPTIONS = frozenset(
    value for value in vars(builtins).values() if isinstance(value, type) and issubclass(value, BaseException)
)


def module_names() -> dict[str, Any]:
    """The names of a new module for the program, which is importable under MODULE_NAME."""
    module = types.ModuleType(MODULE_NAME)
    sys.modules[MODULE_NAME] = module
    names = vars(module)
    names["__builtins__"] = builtins
    names.pop("__doc__")
    return names


def execute(source: str, file: str, names: dict[str, Any]) -> list[str] | None:
    """Run `source` among `names`: None, or [stage, nearest builtin class, class, message] of what it raised."""
    try:
        program = compile(source, file, "exec", dont_inherit=True)
    except _BaseException as error:
        return ["compile", *describe(error)]
    try:
        exec(program, names)
        _import_what_a_main_guard_imports(source, names)
    except _BaseException as error:
        return ["run", *describe(error)]
    return None


def describe(error: BaseException) -> tuple[str, str, str]:
    """(nearest builtin class, class, message) of an exception whose own methods may lie or raise."""
    kind = _type(error)
    nearest = "Exception"
    try:
        nearest = next(base.__name__ for base in kind.__mro__ if base in _BUILTIN_EXCEPTIONS)
        return nearest, kind.__name__[:100], _str(error)[:500]
    except _BaseException:
        return nearest, "Exception", ""


def _import_what_a_main_guard_imports(source: str, names: dict[str, Any]) -> None:
    """Imports below `if __name__ == "__main__":` bind names that the program's functions may use.

    The rest of such a block is the program's own use of itself (it reads input, prints, exits) and is not run.
    """
    if "__main__" not in source:
        return
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and ast.unparse(node.test).replace('"', "'") == "__name__ == '__main__'":
            imports: list[ast.stmt] = [each for each in node.body if isinstance(each, ast.Import | ast.ImportFrom)]
            with contextlib.suppress(ImportError):  # a program that needs the name fails by its own NameError
                exec(compile(ast.Module(imports, []), "<code>", "exec", dont_inherit=True), names)
