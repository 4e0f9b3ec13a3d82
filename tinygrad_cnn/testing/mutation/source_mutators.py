"""Mutants whose rules are compiled anew from their source, with one node of it changed."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinygrad_cnn.autograd.op import Op, Rule
from tinygrad_cnn.testing.mutation.mutant import Mutant, like


def edited(op: Op) -> Iterator[Mutant]:
    """Mutants for every change of every expression in the rules and the helpers they use."""
    module = sys.modules[op.forward.__module__]
    functions = _functions(module.__name__)
    record = functions.get(op.forward.__name__)
    if record is None:
        return
    (made,) = (
        d
        for d in record.decorator_list
        if isinstance(d, ast.Call) and isinstance(d.func, ast.Name) and d.func.id == "op"
    )
    parts: dict[str, ast.AST] = {
        k.arg: k.value for k in made.keywords if k.arg in ("vjp", "array_vjp", "fused", "reference")
    }
    helpers = _reachable(list(parts.values()), functions)
    for name, target in (*parts.items(), *helpers.items()):
        times: Counter[str] = Counter()
        for before, after, tree in _edits(target):
            make = functools.partial(_rebuilt, op, parts, helpers, name, tree)
            change = f"{name}: `{before}` → `{after}`"
            times[change] += 1  # the same words may stand in several places
            again = f" ({times[change]})" if times[change] > 1 else ""
            yield Mutant(op.name, change + again, make, [True])


@functools.cache
def _functions(module: str) -> dict[str, ast.FunctionDef]:
    """A module's functions by name, without annotations and docstrings."""
    tree = ast.parse(Path(inspect.getfile(sys.modules[module])).read_text(encoding="utf-8"))
    found = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    for function in found.values():
        function.returns = None
        for argument in ast.walk(function):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        body = function.body
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            function.body = body[1:] or [ast.Pass()]
        for k, statement in enumerate(function.body):
            if isinstance(statement, ast.AnnAssign) and statement.value is not None:
                function.body[k] = ast.copy_location(
                    ast.Assign([statement.target], statement.value), statement
                )
    return found


def _reachable(
    trees: Sequence[ast.AST], functions: dict[str, ast.FunctionDef]
) -> dict[str, ast.FunctionDef]:
    """The module's functions, other than operations, that ``trees`` use, directly or not."""
    found: dict[str, ast.FunctionDef] = {}
    stack = list(trees)
    while stack:
        for node in ast.walk(stack.pop()):
            if isinstance(node, ast.Name) and node.id in functions and node.id not in found:
                function = functions[node.id]
                if not function.decorator_list:
                    found[node.id] = function
                    stack.append(function)
    return found


def _edits(target: ast.AST) -> Iterator[tuple[str, str, ast.AST]]:
    """Every version of ``target`` with one node changed: what it was, what it is, the tree."""
    seen = set()
    # `strict=True` of zip() guards against mistakes and computes nothing
    guards = {
        id(n.value) for n in ast.walk(target) if isinstance(n, ast.keyword) and n.arg == "strict"
    }
    for k, node in enumerate(ast.walk(target)):
        if id(node) in guards:
            continue
        for new in _variants(node):
            tree = _replaced(target, k, new)
            before, after, whole = ast.unparse(node), ast.unparse(new), ast.unparse(tree)
            if whole not in seen and before != after:
                seen.add(whole)
                yield before, after, tree


_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


# functions that do not care for the order of their first two arguments
_SYMMETRIC = {"equal", "max", "maximum", "min", "minimum", "mul", "transpose", "_square_distance"}
# functions that change what holds a value, not the value
_CONVERSIONS = {"float16", "int", "raw", "tuple", "wrap"}


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    if isinstance(node, ast.BinOp):
        yield node.left  # a term or factor dropped
        yield node.right
        other = _ARITHMETIC.get(type(node.op))
        if other is not None:
            yield ast.BinOp(node.left, other(), node.right)
        if isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult, ast.Pow)):
            yield ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant) and not isinstance(node.value, (str, type(None))):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, (int, float)):
            yield ast.Constant(node.value * 2 if node.value else 1)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        yield ast.Compare(node.left, [_COMPARISONS[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.BoolOp(other_op, node.values)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.If):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield ast.AugAssign(node.target, _ARITHMETIC[type(node.op)](), node.value)
    elif isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred):
        name = ast.unparse(node.func).rsplit(".", 1)[-1]
        swaps = len(node.args) > 1 and not isinstance(node.args[1], ast.Starred)
        if swaps and name not in _SYMMETRIC:
            first, second, *rest = node.args
            yield ast.Call(node.func, [second, first, *rest], node.keywords)
        if name not in _CONVERSIONS:
            yield node.args[0]  # the function left out


def _replaced(target: ast.AST, k: int, new: ast.AST) -> ast.AST:
    """A copy of ``target`` with its node number ``k`` (in `ast.walk` order) replaced."""
    tree = copy.deepcopy(target)
    nodes = list(ast.walk(tree))
    old, new = nodes[k], copy.deepcopy(new)
    if old is tree:
        return new
    for parent in nodes:
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list):
                value[:] = [new if v is old else v for v in value]
    return tree


def _rebuilt(
    op: Op, parts: dict[str, ast.AST], helpers: dict[str, ast.FunctionDef], name: str, tree: Any
) -> Op:
    """The operation with rules compiled anew, the part or helper ``name`` replaced by ``tree``."""
    space = dict(sys.modules[op.forward.__module__].__dict__)
    definitions = [tree if n == name else d for n, d in helpers.items()]
    module = ast.fix_missing_locations(ast.Module(copy.deepcopy(definitions), []))
    exec(compile(module, "<mutant>", "exec"), space)  # nosec B102  # source that is made here
    values = {}
    for part, expression in parts.items():
        body: Any = copy.deepcopy(tree if part == name else expression)
        chosen = ast.Expression(body)
        # source that is made here
        code = compile(ast.fix_missing_locations(chosen), "<mutant>", "eval")
        values[part] = eval(code, space)  # nosec B307
    if "vjp" in values:
        vjp = values["vjp"]
        rules = vjp if isinstance(vjp, tuple) else (vjp,)
        array_vjp = Rule(values["array_vjp"]) if "array_vjp" in values else op.array_vjp
        return like(
            op, rules=tuple(None if r is None else Rule(r) for r in rules), array_vjp=array_vjp
        )
    fused = Rule(values["fused"])
    return like(op, fused=fused, array_vjp=fused, reference=values["reference"])
