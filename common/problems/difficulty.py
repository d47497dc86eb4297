"""How difficult a problem is, judged by its reference solution."""

import ast
import warnings
from typing import TypedDict

from radon.visitors import Class, ComplexityVisitor, Function

from common.problems.syntax import parse_python


class Difficulty(TypedDict):
    """`complexity` in linearly independent paths, `n_lines` in source lines, `n_nodes` in syntax-tree nodes."""

    complexity: int
    n_lines: int
    n_nodes: int


def measure_difficulty(code: str) -> Difficulty:
    """Cyclomatic complexity, source lines and syntax-tree nodes of one program.

    complexity is one number for the whole program: 1 + its decisions, wherever they stand (in
    functions, methods, closures, class bodies or the module itself), as radon counts them: an
    `if`, a loop, an `except`, a comprehension and each of its conditions, a boolean operator's
    further operands, an assert. A program of one function has that function's complexity;
    helpers add their decisions and nothing for being there, so splitting a function into two
    changes nothing. n_lines counts lines that are neither blank nor only a comment, docstrings
    included; n_nodes counts every node of the tree, the module's own included.

    Raises: SyntaxError when `code` does not parse. Source: McCabe 1976, with radon's table of decisions.
    """
    tree = parse_python(code)
    lines = (line.strip() for line in code.split("\n"))
    return {
        "complexity": 1 + _n_decisions(tree),
        "n_lines": sum(1 for line in lines if line and not line.startswith("#")),
        "n_nodes": sum(1 for _ in ast.walk(tree)),
    }


def _n_decisions(tree: ast.Module) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ComplexityVisitor.from_ast(tree)
    in_functions = sum(_in_function(function) for function in module.functions)
    in_classes = sum(_in_class(class_) for class_ in module.classes)
    return module.complexity - 1 + in_functions + in_classes


def _in_function(function: Function) -> int:
    # radon's number of a function leaves out the functions defined in it.
    return function.complexity - 1 + sum(_in_function(closure) for closure in function.closures)


def _in_class(class_: Class) -> int:
    # radon's number of a class is 1 + the decisions of its body + its methods' numbers, each with its own 1.
    in_body = class_.real_complexity - 1 - sum(method.complexity for method in class_.methods)
    in_methods = sum(_in_function(method) for method in class_.methods)
    return in_body + in_methods + sum(_in_class(inner) for inner in class_.inner_classes)
