"""One text for all programs that are equal up to the names that they give.

1. Comments and layout never reach the syntax tree; docstrings and other statements that are nothing but text,
   annotations and `pass` are left out of it.
2. Every name that the program binds itself (functions, classes, arguments, variables, those of comprehensions, lambdas
   and handlers too) is a number, given in the order in which the names come up, to each scope's names apart, as Python
   resolves them. So is the name of an argument where an own function is called with it. What is imported has the name
   of its module's.
3. Names that the program does not bind (builtins), attributes, and names in the body of a class, which are attributes
   of its objects, stay as they are.
"""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from common.problems.syntax import parse_python

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_LEFT_OUT = {"ctx", "annotation", "returns", "type_comment", "type_params", "kind", "simple"}


def canonical_code(code: str, entry_point: str) -> str:
    """`code` as described above, and which of its names is the tested one; a program nested too deep is itself.

    Raises: SyntaxError when `code` does not parse.
    """
    tree = parse_python(code)
    writer = _Writer()
    try:
        with writer.inside(_scope(tree, tree.body)):
            return f"{writer.written(tree.body)} {writer.name_of(entry_point)}"
    except RecursionError:
        return code


@dataclass
class _Scope:
    """The names that one module, function, class or comprehension binds: what each is called, once that is known."""

    is_class: bool
    names: dict[str, str | None]
    arguments: dict[str, list[str]] = field(default_factory=dict)  # of the functions defined here


class _Writer:
    def __init__(self) -> None:
        self._scopes: list[_Scope] = []
        self._n_names = 0

    @contextmanager
    def inside(self, scope: _Scope) -> Iterator[None]:
        self._scopes.append(scope)
        yield
        self._scopes.pop()

    def name_of(self, name: str) -> str:
        """What `name` is called where the writer is."""
        scope = self._scope_of(name)
        if scope is None or scope.is_class:
            return name
        known = scope.names[name]
        if known is None:
            known = scope.names[name] = f"#{self._n_names}"
            self._n_names += 1
        return known

    def _scope_of(self, name: str) -> _Scope | None:
        innermost = self._scopes[-1]
        visible = [scope for scope in self._scopes if scope is innermost or not scope.is_class]
        return next((scope for scope in reversed(visible) if name in scope.names), None)

    def written(self, node: Any) -> str:
        match node:
            case list():
                parts = [self.written(part) for part in node if not _says_nothing(part)]
                return f"[{' '.join(parts)}]"
            case ast.Name():
                return self.name_of(node.id)
            case ast.arg():
                return self.name_of(node.arg)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                return self._function(node)
            case ast.ClassDef():
                parts = [self.written(part) for part in (node.decorator_list, node.bases, node.keywords)]
                name = self.name_of(node.name)
                with self.inside(_scope(node, node.body)):
                    return f"(class {name} {' '.join(parts)} {self.written(node.body)})"
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                return self._comprehension(node)
            case ast.Import() | ast.ImportFrom():
                place = f"{node.level} {node.module}" if isinstance(node, ast.ImportFrom) else ""
                return f"(import {place} {[alias.name for alias in node.names]})"
            case ast.Global() | ast.Nonlocal():
                return f"({type(node).__name__} {[self.name_of(name) for name in node.names]})"
            case ast.AnnAssign():
                return f"(Assign [{self.written(node.target)}] {self.written(node.value)})"
            case ast.Call(func=ast.Name()):
                return self._call_by_name(node)
            case ast.AST():
                return self._plainly(node)
        return repr(node)

    def _plainly(self, node: ast.AST) -> str:
        parts = []
        for name, value in ast.iter_fields(node):
            if isinstance(value, str) and (name == "name" or name == "rest"):  # of a handler, or of a pattern
                parts.append(self.name_of(value))
            elif name not in _LEFT_OUT:
                parts.append(self.written(value))
        return f"({type(node).__name__} {' '.join(parts)})"

    def _function(self, node: _Function | ast.Lambda) -> str:
        arguments = node.args
        outside = [self.written(arguments.defaults), self.written(arguments.kw_defaults)]
        if not isinstance(node, ast.Lambda):
            outside += [self.name_of(node.name), self.written(node.decorator_list)]
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        lists = [arguments.posonlyargs, arguments.args, arguments.vararg, arguments.kwonlyargs, arguments.kwarg]
        with self.inside(_scope(node, body)):
            inside = [*map(self.written, lists), self.written(body)]
        return f"({type(node).__name__} {' '.join(outside + inside)})"

    def _comprehension(self, node: _Comprehension) -> str:
        first = self.written(node.generators[0].iter)  # Python evaluates it outside, where the targets are not known
        with self.inside(_Scope(False, dict.fromkeys(_targets(node)))):
            parts = [first]
            for generator in node.generators:
                parts += [self.written(generator.target), self.written(generator.ifs), str(generator.is_async)]
                if generator is not node.generators[0]:
                    parts.append(self.written(generator.iter))
            made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            return f"({type(node).__name__} {' '.join(parts)} {self.written(made)})"

    def _call_by_name(self, node: ast.Call) -> str:
        assert isinstance(node.func, ast.Name)
        scope = self._scope_of(node.func.id)
        arguments = scope.arguments.get(node.func.id, []) if scope else []
        keywords = [
            f"{arguments.index(word.arg) if word.arg in arguments else word.arg}={self.written(word.value)}"
            for word in node.keywords
        ]
        return f"(call {self.name_of(node.func.id)} {self.written(node.args)} {' '.join(keywords)})"


def _says_nothing(statement: Any) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant(value=str())) | ast.AnnAssign(value=None):
            return True
    return False


def _scope(node: ast.AST, body: list[Any]) -> _Scope:
    """The scope of a module, function or class with this body."""
    scope = _Scope(isinstance(node, ast.ClassDef), {})
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        scope.names |= dict.fromkeys(_arguments(node))
    if isinstance(node, ast.Module):
        declared = [name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names]
        scope.names |= dict.fromkeys(declared)
    elsewhere: set[str] = set()
    for statement in body:
        _bind(statement, scope, elsewhere, in_comprehension=False)
    for name in elsewhere:
        scope.names.pop(name, None)
    return scope


def _bind(node: ast.AST, scope: _Scope, elsewhere: set[str], in_comprehension: bool) -> None:
    """Add to `scope` what `node` binds in it, and to `elsewhere` what it declares to be of another scope."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            scope.names.setdefault(node.name)
            scope.arguments[node.name] = list(_arguments(node))
            return
        case ast.ClassDef():
            scope.names.setdefault(node.name)
            return
        case ast.Lambda():
            return
        case ast.Global() | ast.Nonlocal():
            elsewhere.update(node.names)
        case ast.Import() | ast.ImportFrom():
            module = node.module if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                known_as = alias.asname or alias.name.partition(".")[0]
                scope.names.setdefault(known_as, f"{module}.{alias.name if alias.asname else known_as}")
        case ast.NamedExpr(target=ast.Name(id=name)):
            scope.names.setdefault(name)
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if not in_comprehension:
            scope.names.setdefault(name)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            scope.names.setdefault(name)
        case ast.MatchMapping(rest=str(name)):
            scope.names.setdefault(name)
    inner = in_comprehension or isinstance(node, _Comprehension)
    for child in ast.iter_child_nodes(node):
        _bind(child, scope, elsewhere, inner)


def _arguments(node: _Function | ast.Lambda) -> Iterator[str]:
    given = node.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return (argument.arg for argument in every if argument is not None)


def _targets(node: _Comprehension) -> Iterator[str]:
    for generator in node.generators:
        for part in ast.walk(generator.target):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                yield part.id
