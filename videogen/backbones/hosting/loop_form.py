"""Form of a pipeline's denoising loop, read from its source: where it begins, where it steps, what it carries over.

Every hosted pipeline loops `for i, t in enumerate(timesteps)` and steps its scheduler in the body. The host makes a
copy of the call whose `enumerate`, at that line, asks the engine for the next index. The library is not changed.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import FrameType, FunctionType
from typing import Any

from videogen.core.errors import UnsupportedError

from .frame_locals import read_locals, set_locals

#: names by which pipelines call the latents that their loop carries from step to step
_STATES = ("latents", "latents_packed", "chunk_latents")


@dataclass(frozen=True)
class LoopForm:
    """The loop of one pipeline's call.

    method: which method loops, `__call__` for nearly all. lines: of `enumerate(...)`, in the source file; steps: of the
    call that steps the video's latents. carried: local variables that a body takes over from the one before; state: the
    one with the video's latents. mutated: whether a body writes into it in place.
    """

    method: str
    function: FunctionType
    lines: range
    steps: tuple[range, ...]
    carried: tuple[str, ...]
    state: str
    mutated: bool

    def read(self, frame: FrameType) -> dict[str, Any]:
        """What a body takes over from the one before, of a suspended call."""
        return read_locals(frame, self.carried)

    def write(self, frame: FrameType, values: Mapping[str, Any]) -> None:
        """Set what the next body begins with."""
        set_locals(frame, values)

    def set_variables(self, frame: FrameType, values: Mapping[str, Any]) -> None:
        """Set local variables of the call that the loop does not carry over."""
        set_locals(frame, values)

    def variables(self, frame: FrameType) -> list[Any]:
        """All that a suspended call refers to."""
        return list(frame.f_locals.values())

    def lend(self, enumerate_: Callable[..., Any], **others: Any) -> FunctionType:
        """The method with another `enumerate`, and other values of further names, in its globals."""
        function = self.function
        lent = FunctionType(
            function.__code__,
            function.__globals__ | {"enumerate": enumerate_, **others},
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        lent.__kwdefaults__ = function.__kwdefaults__
        return lent


@lru_cache(maxsize=256)
def read_loop_form(pipeline_class: type, method: str = "__call__") -> LoopForm:
    """The form of a pipeline class's loop. UnsupportedError, naming the class, where it has another one."""
    function = inspect.unwrap(getattr(pipeline_class, method))
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError) as error:
        raise UnsupportedError(f"{pipeline_class.__name__} has no source to read its loop from: {error}") from error
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, first - 1)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    loop = _innermost(_stepping_loops(definition))
    if loop is None:
        raise UnsupportedError(
            f"{pipeline_class.__name__}.{method} has no loop `for i, t in enumerate(timesteps)` that steps a "
            "scheduler; pipelines of another form cannot be hosted"
        )
    stores = set(_names(loop.body, ast.Store))
    state = next((name for name in _STATES if name in stores | _written_in_place(loop)), None)
    if state is None:
        raise UnsupportedError(
            f"the loop of {pipeline_class.__name__}.{method} has no latents by a known name ({', '.join(_STATES)}); it "
            "cannot be hosted"
        )
    carried = (*(_read_first(loop.body) & stores), *(set(_names(_after(definition, loop), ast.Load)) & stores), state)
    return LoopForm(
        method,
        function,
        range(loop.iter.lineno, (loop.iter.end_lineno or loop.iter.lineno) + 1),
        tuple(range(call.lineno, (call.end_lineno or call.lineno) + 1) for call in _main_steps(loop)),
        tuple(sorted(set(carried))),
        state,
        state in _written_in_place(loop),
    )


def _stepping_loops(node: ast.AST) -> Iterator[ast.For]:
    """Loops over `enumerate(...)` whose body steps a scheduler, outer ones first."""
    for child in ast.walk(node):
        if isinstance(child, ast.For) and isinstance(child.iter, ast.Call):
            name = getattr(child.iter.func, "id", None)
            if name == "enumerate" and any(_is_step(inner) for part in child.body for inner in ast.walk(part)):
                yield child


def _innermost(loops: Iterator[ast.For]) -> ast.For | None:
    found = list(loops)
    return max(found, key=lambda loop: loop.lineno) if found else None


def _is_step(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "step"


def _main_steps(loop: ast.For) -> Iterator[ast.Call]:
    """Calls that step the video's latents: those of the pipeline's own scheduler, unless they only convert."""
    for part in loop.body:
        for node in ast.walk(part):
            if isinstance(node, ast.Assign) and "noise_pred" not in _targets(node):
                yield from (
                    call for call in ast.walk(node.value)
                    if isinstance(call, ast.Call) and _is_step(call) and ast.unparse(call.func) == "self.scheduler.step"
                )  # fmt: skip


def _targets(node: ast.Assign) -> set[str]:
    return {name for target in node.targets for name in _names([target], ast.Store)}


def _written_in_place(loop: ast.For) -> set[str]:
    """Variables of which the body assigns parts, such as `latents[:, 1:] = ...`."""
    found = set()
    for part in loop.body:
        for node in ast.walk(part):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                base: ast.AST = node.value
                while isinstance(base, ast.Subscript | ast.Attribute):
                    base = base.value
                if isinstance(base, ast.Name):
                    found.add(base.id)
    return found


def _names(nodes: list[Any], context: type[ast.expr_context]) -> Iterator[str]:
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, context):
                yield inner.id


def _read_first(body: list[ast.stmt]) -> set[str]:
    """Variables that a body may read before it has assigned them: the value comes from the body before."""
    read: set[str] = set()
    assigned: set[str] = set()

    def visit(statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.With):
                read.update(set(_names([*statement.items], ast.Load)) - assigned)
                visit(statement.body)
                continue
            read.update(set(_names([statement], ast.Load)) - assigned)
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                assigned.update(_names([statement], ast.Store))
            elif isinstance(statement, ast.AugAssign):
                read.update(set(_names([statement.target], ast.Store)) - assigned)

    visit(body)
    return read


def _after(definition: ast.FunctionDef, loop: ast.For) -> list[ast.stmt]:
    """Statements that begin after the loop."""
    end = loop.end_lineno or loop.lineno
    return [node for node in ast.walk(definition) if isinstance(node, ast.stmt) and node.lineno > end]
