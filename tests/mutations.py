"""Small changes to programs that make most of them wrong."""

import ast
import random

_COMPARISONS = {
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
}
_OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.Mod: ast.Add}


class Mutate(ast.NodeTransformer):
    """Changes the n-th thing that can be changed."""

    def __init__(self, position: int) -> None:
        self.position = position

    def here(self) -> bool:
        self.position -= 1
        return self.position == -1

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if type(node.value) is int and self.here():
            return ast.Constant(node.value + 1)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        self.generic_visit(node)
        if self.here():
            node.ops = [_COMPARISONS.get(type(op), type(op))() for op in node.ops]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        self.generic_visit(node)
        if self.here():
            node.op = _OPERATORS.get(type(node.op), type(node.op))()
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        self.generic_visit(node)
        return ast.Return(ast.List([node.value], ast.Load())) if node.value and self.here() else node


def mutated(code: str, rng: random.Random, positions: int = 8) -> str | None:
    """`code` with one thing changed, or None when there is no such thing at the position drawn."""
    tree = ast.parse(code)
    changed = ast.unparse(ast.fix_missing_locations(Mutate(rng.randrange(positions)).visit(tree)))
    return changed if changed != ast.unparse(ast.parse(code)) else None
