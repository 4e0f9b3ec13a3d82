"""Functions in parts: what comes before and after a statement that cannot be recorded.

`Source.cut` writes a function anew: the statement stays, as do those that it stands in (``if``,
``for``, ``with no_grad()``), and what is before and after becomes functions of its own, which get
the local variables that they read and return those that are read later.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
import types
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

Make = Callable[[types.FunctionType, "Source", str], Any]

_FALLS, _RETURNS, _BREAKS, _CONTINUES = range(4)
_WORK = (ast.Call, ast.BinOp, ast.UnaryOp, ast.AugAssign, ast.Compare, ast.Subscript)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MODES = frozenset(["no_grad", "enable_grad", "inference_mode", "set_grad_enabled"])
_FRAMES = frozenset(["locals", "eval", "exec", "vars", "dir", "_getframe", "currentframe"])
_GENERATORS = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
)  # their bodies do not run when they are called


class Uncut(Exception):
    """A function cannot be cut there."""


class Source:
    """A function, and its syntax, with the line numbers of its file."""

    def __init__(self, function: types.FunctionType, tree: ast.FunctionDef) -> None:
        self.function, self.tree = function, tree
        self.declared = [n for n in ast.walk(tree) if isinstance(n, (ast.Global, ast.Nonlocal))]
        outside = {name for node in self.declared for name in node.names}
        code = function.__code__
        self.parameters = code.co_varnames[: _count_parameters(code)]
        self.locals = (_stores(tree.body) | set(self.parameters)) - outside

    def cut(self, line: int, make: Make) -> types.FunctionType:
        """The function with what is before and after a line's statement made by ``make``.

        Raises
        ------
        Uncut
            Nothing is left to be recorded, or it cannot be taken apart.
        """
        cutter = _Cutter(self, line, make)
        body = cutter.block(self.tree.body, set(self.parameters), set(), False)
        if not cutter.parts:
            raise Uncut
        return _compiled(self, self.tree.name, _parameters(self.tree.args), body, cutter.parts)

    def changing_line(self) -> int | None:
        """The first statement that sets what is not a local variable."""
        for node in ast.walk(self.tree):
            targets: Sequence[ast.expr] = ()
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
                targets = (node.target,)
            for target in targets:
                if not isinstance(target, ast.Name) or target.id not in self.locals:
                    if not isinstance(target, (ast.Tuple, ast.List)):
                        return int(node.lineno)  # type: ignore[attr-defined]  # a statement
        return None


def source_of(function: types.FunctionType) -> Source | None:
    """A function's source, if it has one that can be taken apart."""
    code = function.__code__
    if code.co_flags & _GENERATORS or code.co_cellvars or _FRAMES & set(code.co_names):
        return None
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        return None
    ast.increment_lineno(tree, first - 1)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    private = any(name.startswith("__") and not name.endswith("__") for name in names)
    deleted = any(isinstance(n, ast.Delete) for n in ast.walk(tree))
    if private or deleted or tree.body[0].name != function.__name__:
        return None  # a class changes such names; and names that are gone are not followed
    return Source(function, tree.body[0])


def unwrapped(function: Any) -> tuple[types.FunctionType | None, Callable[[Any], Any]]:
    """The function inside decorators, and how to decorate another in its place."""
    if type(function) is not types.FunctionType:
        return None, lambda other: other
    inner = getattr(function, "__wrapped__", None)
    if inner is None:
        return function, lambda other: other
    cells = function.__closure__ or ()
    held = [_content(cell) is inner for cell in cells]
    found, dress = unwrapped(inner)
    if found is None or held.count(True) != 1:
        return None, dress

    def again(other: Any) -> Any:
        inside = types.CellType(dress(other))
        places = tuple([inside if its else c for its, c in zip(held, cells, strict=True)])
        return _function(function, function.__code__, places)

    return found, again


def _content(cell: types.CellType) -> Any:
    with suppress(ValueError):  # it is empty
        return cell.cell_contents
    return None


class _Cutter:
    """One cut through a function: blocks of statements anew, and the parts that they call."""

    def __init__(self, source: Source, line: int, make: Make) -> None:
        self.source, self.line, self.make = source, line, make
        self.parts: dict[str, Any] = {}

    def block(
        self, body: list[ast.stmt], bound: set[str], live: set[str], loops: bool
    ) -> list[ast.stmt]:
        """A block, of which one statement is not recorded.

        ``bound`` are the local variables that surely have a value before it, ``live`` the names
        that are read after it; ``loops`` says that it is in a loop, whose parts come again.
        """
        for number, statement in enumerate(body):
            if statement.lineno <= self.line <= (statement.end_lineno or 0):
                before, after = body[:number], body[number + 1 :]
                rest = live | _reads(after)
                within = bound | _surely(before)
                made = self.part(before, bound, rest | _reads([statement]), loops)
                made += self.statement(statement, within, rest, loops)
                made += self.part(after, within | _surely([statement]), live, loops)
                return made
        raise Uncut

    def statement(
        self, node: ast.stmt, bound: set[str], live: set[str], loops: bool
    ) -> list[ast.stmt]:
        """The statement of the line: as it is, or cut inside."""
        fields: tuple[str, ...] = ()
        if isinstance(node, ast.With) and all(map(_is_mode, node.items)):
            fields = ("body",)
        elif isinstance(node, (ast.If, ast.For, ast.While)):
            fields = ("body", "orelse")
        if not fields:
            return [node]
        inside = loops or isinstance(node, (ast.For, ast.While))
        if inside and not loops:
            live = live | _reads([node])
        if isinstance(node, ast.For):
            bound = bound | _stores([node.target])
        made = type(node)(**{name: value for name, value in ast.iter_fields(node)})
        ast.copy_location(made, node)
        for name in fields:
            body: list[ast.stmt] = getattr(node, name)
            here = any(s.lineno <= self.line <= (s.end_lineno or 0) for s in body)
            new = self.block if here else self.part
            setattr(made, name, new(body, bound, live, inside))
        return [made]

    def part(
        self, body: list[ast.stmt], bound: set[str], live: set[str], loops: bool
    ) -> list[ast.stmt]:
        """Statements in place of a block: a call of a function that does the same."""
        if not any(isinstance(n, _WORK) for s in body for n in ast.walk(s)):
            return body
        if all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in body):
            return body
        source = self.source
        stores, sure = _stores(body) & source.locals, _surely(body)
        if loops:
            live = live | _reads(body)
        outputs = sorted(stores & live)
        needed = (_needs(body) & source.locals) | (set(outputs) - sure)
        first = source.parameters[:1]
        if any(isinstance(n, ast.Name) and n.id == "super" for s in body for n in ast.walk(s)):
            needed |= set(first)
        if not needed <= bound:
            raise Uncut  # it may be that one has no value
        inputs = sorted(needed, key=lambda name: (name not in first, name))
        exits = _Exits(outputs)
        last = body[-1]
        alone = isinstance(last, ast.Return) and not _leaves(body[:-1])
        leaves = not alone and _leaves(body)
        new = [exits.visit(copy.deepcopy(s)) for s in body] if leaves else list(body)
        if leaves:
            new.append(exits.leave(_FALLS, _tuple(outputs, ast.Load())))
        elif not alone and outputs:
            new.append(ast.Return(_tuple(outputs, ast.Load())))
        start, end = body[0].lineno, last.end_lineno
        name = f"{source.tree.name}_{start}_{end}"
        key = f"_part_{len(self.parts)}"
        tree = ast.FunctionDef(
            name=name,
            args=_arguments(inputs),
            body=[*source.declared, *new],
            decorator_list=[],
            lineno=start,
            end_lineno=end,
            col_offset=0,
        )
        function = _compiled(source, name, tree.args, tree.body, {})
        title = f"{source.function.__qualname__}, lines {start} to {end}"
        inner = Source(function, ast.fix_missing_locations(tree))
        self.parts[key] = self.make(function, inner, title)
        call = ast.Call(_load(key), [_load(name) for name in inputs], [])
        made: list[ast.stmt]
        if alone:
            made = [ast.Return(call)]
        elif leaves:
            made = self._followed(call, outputs, loops)
        elif outputs:
            made = [ast.Assign([_tuple(outputs, ast.Store())], call)]
        else:
            made = [ast.Expr(call)]
        return [ast.fix_missing_locations(ast.copy_location(s, body[0])) for s in made]

    def _followed(self, call: ast.expr, outputs: list[str], loops: bool) -> list[ast.stmt]:
        """Statements that go on where a part left to."""

        def way(code: int) -> ast.expr:
            return ast.Compare(_load("_way"), [ast.Eq()], [ast.Constant(code)])

        pair = ast.Tuple([_store("_way"), _store("_made")], ast.Store())
        made: list[ast.stmt] = [
            ast.Assign([pair], call),
            ast.If(way(_RETURNS), [ast.Return(_load("_made"))], []),
        ]
        if outputs:
            made.append(ast.Assign([_tuple(outputs, ast.Store())], _load("_made")))
        if loops:
            made.append(ast.If(way(_BREAKS), [ast.Break()], []))
            made.append(ast.If(way(_CONTINUES), [ast.Continue()], []))
        return made


class _Exits(ast.NodeTransformer):
    """Makes a part return what leaves it, and where to."""

    def __init__(self, outputs: list[str]) -> None:
        self.outputs, self.depth = outputs, 0

    def leave(self, way: int, value: ast.expr) -> ast.Return:
        return ast.Return(ast.Tuple([ast.Constant(way), value], ast.Load()))

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        value = node.value or ast.Constant(None)
        return ast.copy_location(self.leave(_RETURNS, value), node)

    def visit_Break(self, node: ast.Break) -> ast.stmt:
        return self._jump(_BREAKS, node)

    def visit_Continue(self, node: ast.Continue) -> ast.stmt:
        return self._jump(_CONTINUES, node)

    def _jump(self, way: int, node: ast.stmt) -> ast.stmt:
        if self.depth:
            return node
        return ast.copy_location(self.leave(way, _tuple(self.outputs, ast.Load())), node)

    def visit_For(self, node: ast.For) -> ast.stmt:
        return self._loop(node)

    def visit_While(self, node: ast.While) -> ast.stmt:
        return self._loop(node)

    def _loop(self, node: Any) -> ast.stmt:
        self.depth += 1
        node.body = [self.visit(s) for s in node.body]
        self.depth -= 1
        node.orelse = [self.visit(s) for s in node.orelse]
        return node  # type: ignore[no-any-return]

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        return node


# ---- names -------------------------------------------------------------------------------------


class _Names(ast.NodeVisitor):
    """Names that are read and set, in the order in which this happens."""

    def __init__(self) -> None:
        self.reads: set[str] = set()
        self.stores: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        (self.reads if isinstance(node.ctx, ast.Load) else self.stores).add(node.id)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.reads.add(node.target.id)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: Any) -> None:
        self.stores.add(node.name)
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in (*node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.stores.add(node.name)
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        self.stores.add((node.asname or node.name).partition(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.stores.add(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: Any) -> None:
        if node.name:
            self.stores.add(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.stores.add(node.rest)
        self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, _COMPREHENSIONS):
            inside = _Names()
            for child in ast.iter_child_nodes(node):
                inside.visit(child)
            own = _stores(c.target for c in node.generators)
            self.reads |= inside.reads - own
            self.stores |= inside.stores - own
        else:
            super().generic_visit(node)


def _reads(nodes: Iterable[ast.AST]) -> set[str]:
    names = _Names()
    for node in nodes:
        names.visit(node)
    return names.reads


def _stores(nodes: Iterable[ast.AST]) -> set[str]:
    names = _Names()
    for node in nodes:
        names.visit(node)
    return names.stores


def _surely(body: list[ast.stmt]) -> set[str]:
    """Names that have a value after a block, if it is gone through to its end."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.With):
            found |= _stores(node.items) | _surely(node.body)
        elif isinstance(node, ast.If):
            ways = [_surely(b) for b in (node.body, node.orelse) if not _ends(b)]
            found |= set.intersection(*ways) if ways else set()
        elif isinstance(node, ast.Try):
            found |= _surely(node.finalbody)
        elif not isinstance(node, (ast.For, ast.While, ast.Match, ast.AsyncFor, ast.AsyncWith)):
            found |= _stores([node]) - _walrus(node)
    return found


def _walrus(node: ast.AST) -> set[str]:
    return {n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr)}


def _ends(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], (ast.Return, ast.Raise, ast.Break, ast.Continue))


def _needs(body: list[ast.stmt]) -> set[str]:
    """Names that a block may read before it has set them."""
    found: set[str] = set()
    known: set[str] = set()
    for node in body:
        found |= _reads([node]) - known
        known |= _surely([node])
    return found


def _leaves(body: list[ast.stmt], depth: int = 0) -> bool:
    """Whether a block may be left before its end: by ``return``, ``break`` or ``continue``."""
    for node in body:
        if isinstance(node, ast.Return):
            return True
        if isinstance(node, (ast.Break, ast.Continue)) and not depth:
            return True
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            continue
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                loop = isinstance(node, (ast.For, ast.While)) and name == "body"
                inner = [v for v in value if isinstance(v, (ast.stmt, ast.ExceptHandler))]
                if _leaves(inner, depth + loop):  # type: ignore[arg-type]
                    return True
    return False


def _is_mode(item: ast.withitem) -> bool:
    """Whether a ``with`` sets a grad mode: such blocks let errors pass."""
    call = item.context_expr
    function = call.func if isinstance(call, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", None)) in _MODES


# ---- code --------------------------------------------------------------------------------------


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _store(name: str) -> ast.expr:
    return ast.Name(name, ast.Store())


def _tuple(names: list[str], how: ast.expr_context) -> ast.expr:
    return ast.Tuple([ast.Name(name, how) for name in names], how)


def _arguments(names: Iterable[str]) -> ast.arguments:
    return ast.arguments(
        posonlyargs=[],
        args=[ast.arg(name) for name in names],
        vararg=None,
        kwonlyargs=[],
        kw_defaults=[],
        kwarg=None,
        defaults=[],
    )


def _parameters(args: ast.arguments) -> ast.arguments:
    """A function's parameters, without their defaults and annotations."""
    plain = _arguments([a.arg for a in args.args])
    plain.posonlyargs = [ast.arg(a.arg) for a in args.posonlyargs]
    plain.kwonlyargs = [ast.arg(a.arg) for a in args.kwonlyargs]
    plain.kw_defaults = [None] * len(args.kwonlyargs)
    plain.vararg = args.vararg and ast.arg(args.vararg.arg)
    plain.kwarg = args.kwarg and ast.arg(args.kwarg.arg)
    return plain


def _count_parameters(code: types.CodeType) -> int:
    stars = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + stars


def _compiled(
    source: Source, name: str, args: ast.arguments, body: list[ast.stmt], parts: dict[str, Any]
) -> types.FunctionType:
    """A function with a body, in the place of the source's: its globals, closure and defaults."""
    like = source.function
    closed = dict(zip(like.__code__.co_freevars, like.__closure__ or (), strict=True))
    declared = [d for d in source.declared if d not in body]
    inner = ast.FunctionDef(
        name=name,
        args=args,
        body=[*(d for d in declared if parts), *body],
        decorator_list=[],
        lineno=source.tree.lineno,
        col_offset=0,
    )
    outer = ast.FunctionDef(
        name="_outer",
        args=_arguments([*closed, *parts]),
        body=[inner],
        decorator_list=[],
        lineno=source.tree.lineno,
        col_offset=0,
    )
    module = ast.fix_missing_locations(ast.Module([outer], []))
    for node in ast.walk(module):
        if getattr(node, "end_lineno", None) is not None and node.end_lineno < node.lineno:  # type: ignore[attr-defined]
            node.end_lineno, node.end_col_offset = node.lineno, node.col_offset  # type: ignore[attr-defined]
    compiled = compile(module, like.__code__.co_filename, "exec", dont_inherit=True)
    code = _code_in(_code_in(compiled, "_outer"), name)
    cells = {**closed, **{key: types.CellType(part) for key, part in parts.items()}}
    made = _function(like, code, tuple([cells[n] for n in code.co_freevars]))
    if not parts:
        made.__defaults__ = made.__kwdefaults__ = None
        made.__dict__.pop("__wrapped__", None)
        made.__name__ = made.__qualname__ = name
    return made


def _function(like: Any, code: Any, cells: tuple[Any, ...]) -> types.FunctionType:
    """A function as another one, with other code."""
    made = types.FunctionType(code, like.__globals__, like.__name__, like.__defaults__, cells)
    made.__kwdefaults__, made.__qualname__ = like.__kwdefaults__, like.__qualname__
    made.__module__ = like.__module__
    return made


def _code_in(code: types.CodeType, name: str) -> types.CodeType:
    for part in code.co_consts:
        if isinstance(part, types.CodeType) and part.co_name == name:
            return part
    raise Uncut  # pragma: no cover  # it was just put there
