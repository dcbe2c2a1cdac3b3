"""Modular loop: a modular pipeline of diffusers whose loop block asks the engine for each index and each step.

A modular pipeline is a tree of blocks. The denoising loop is the call of one of them: it loops over
`block_state.timesteps` and runs its own blocks, one of which steps the scheduler, on a block state whose attributes are
the latents and all else. Where a loop runs per segment, the inner one over timesteps is in a block inside it. The host
runs a copy of the tree in which the loop blocks have another `enumerate`; the library and the user's pipeline are not
changed.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, TypeGuard

from videogen.core.errors import UnsupportedError

from .lent_loop import LentLoop
from .loop_form import LoopForm, read_loop_form
from .renoising import suspend_step

#: of what is stepped besides the video
_FURTHER_SCHEDULERS = ("audio_scheduler",)
_STATE, _BLOCK_STATE, _CLEAN = "latents", "block_state", "predicted_video_x0"
_LOOPS = (f"enumerate({_BLOCK_STATE}.timesteps)", "enumerate(sigmas[:-1])")


@dataclass(frozen=True)
class BlockLoopForm(LoopForm):
    """A loop whose state is the attributes of `block_state`. renoises: whether its last block adds noise to the clean
    clip that the model predicts, without a scheduler."""

    renoises: bool = False

    def read(self, frame: FrameType) -> dict[str, Any]:
        found = vars(frame.f_locals[_BLOCK_STATE])
        return {name: found[name] for name in self.carried if name in found}

    def write(self, frame: FrameType, values: Mapping[str, Any]) -> None:
        vars(frame.f_locals[_BLOCK_STATE]).update(values)

    def variables(self, frame: FrameType) -> list[Any]:
        return list(vars(frame.f_locals[_BLOCK_STATE]).values())


class ModularLoop(LentLoop):
    """One run of a modular pipeline. Its `form` is that of the loop that runs: which one, its inputs decide."""

    def _prepare(self) -> None:
        self._forms: dict[CodeType, LoopForm] = {}
        vars(self.pipeline)["_blocks"] = self._copied(self.pipeline._blocks)
        for name in _FURTHER_SCHEDULERS:
            if getattr(self.pipeline, name, None) is not None:
                vars(self.pipeline)[name] = copy.deepcopy(getattr(self.pipeline, name))
                self.further_schedulers.append(vars(self.pipeline)[name])

    def _call(self) -> Callable[..., Any]:
        return partial(_call_blocks, self.pipeline)

    def _ask(self, what: str, payload: Any) -> Any:
        assert self._handover is not None
        return self._handover.ask(what, payload)

    def _copied(self, block: Any) -> Any:
        """A copy of a tree of blocks with lent loops."""
        twin = copy.copy(block)
        if getattr(block, "sub_blocks", None):
            twin.sub_blocks = type(block.sub_blocks)(
                (name, self._copied(part)) for name, part in block.sub_blocks.items()
            )
        if hasattr(twin, "_progress_bar_config") or hasattr(twin, "progress_bar"):
            twin._progress_bar_config = {"disable": True}
        form = find_block_form(block)
        if form is None:
            return twin
        self._forms[form.function.__code__] = form
        if getattr(form, "renoises", False):
            last = next(reversed(twin.sub_blocks))
            twin.sub_blocks[last] = suspend_step(twin.sub_blocks[last], _CLEAN, _STATE, self._ask)
        kind = type(block)
        silent = {"tqdm": partial(form.function.__globals__["tqdm"], disable=True)} if _has_own_bar(form) else {}
        call = form.lend(self._enumerate, **silent)
        twin.__class__ = type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})
        return twin


def find_block_forms(block: Any) -> Iterator[LoopForm]:
    """The denoising loops in a tree of blocks."""
    form = find_block_form(block)
    if form is not None:
        yield form
    for part in (getattr(block, "sub_blocks", None) or {}).values():
        yield from find_block_forms(part)


def first_block_form(pipeline: Any) -> LoopForm:
    """The first loop of a modular pipeline. UnsupportedError, naming the class of its blocks, where it has none."""
    blocks = pipeline._blocks
    form = next(find_block_forms(blocks), None)
    if form is None:
        raise UnsupportedError(
            f"{type(blocks).__name__} of {type(pipeline).__name__} has no block that loops "
            "`for i, t in enumerate(timesteps)` and steps a scheduler; it cannot be hosted"
        )
    return form


def find_block_form(block: Any) -> LoopForm | None:
    """The form of a block's own loop over timesteps; None where it has none."""
    parts = getattr(block, "sub_blocks", None) or {}
    kind: Any = type(block)
    form = _read_block_form(kind, tuple(type(part) for part in parts.values()))
    if form is not None or parts:
        return form
    try:
        return read_loop_form(kind)
    except UnsupportedError:
        return None


@lru_cache(maxsize=256)
def _read_block_form(kind: type, parts: tuple[type, ...]) -> LoopForm | None:
    """The form of a block that loops over timesteps with the block state's latents, and steps the scheduler, or
    re-noises, itself or by one of these blocks, which it runs; None where it does not."""
    function = inspect.unwrap(kind.__call__)  # type: ignore[operator]
    loop = next((node for node in ast.walk(_parse(function)) if _is_loop(node)), None)
    if loop is None:
        return None
    bodies = [_parse(inspect.unwrap(part.__call__)) for part in parts] or [loop]  # type: ignore[operator]
    stores = {name for body in bodies for name in _attributes(body, ast.Store)}
    in_place = {name for body in bodies for name in _written_in_place(body)}
    stores |= in_place
    renoises = bool(parts) and _CLEAN in set(_attributes(bodies[-1], ast.Load))
    if not renoises and not any("components.scheduler.step(" in ast.unparse(body) for body in bodies):
        return None
    if not parts and _STATE not in stores:
        return None  # its latents are a local variable
    lines = range(loop.iter.lineno, loop.iter.lineno + 1)
    carried = sorted({name for name in stores if name == _STATE or name.endswith("latents")} | {_STATE})
    return BlockLoopForm("__call__", function, lines, (), tuple(carried), _STATE, bool(in_place), renoises)


def _is_loop(node: ast.AST) -> TypeGuard[ast.For]:
    return isinstance(node, ast.For) and ast.unparse(node.iter) in _LOOPS


def _parse(function: Any) -> ast.AST:
    """The syntax tree of a function, with the line numbers of its file."""
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    return ast.increment_lineno(tree, first - 1)


def _attributes(tree: ast.AST, context: type[ast.expr_context]) -> Iterator[str]:
    """Names of the block state's attributes that are read or assigned."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, context)
            and ast.unparse(node.value) == _BLOCK_STATE
        ):
            yield node.attr


def _written_in_place(tree: ast.AST) -> Iterator[str]:
    """Attributes of which a block assigns parts, such as `block_state.latents[n:] = ...`."""
    for node in ast.walk(tree):
        target = node.value if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) else None
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == _BLOCK_STATE:
            yield target.attr


def _has_own_bar(form: LoopForm) -> bool:
    return "tqdm" in form.function.__code__.co_names


def _call_blocks(pipeline: Any, **arguments: Any) -> SimpleNamespace:
    """The outputs of a modular pipeline by name."""
    state = pipeline(**arguments)
    names = {output.name for output in pipeline._blocks.outputs}
    return SimpleNamespace(**{name: state.get(name) for name in names & {"videos", "audio", "sound", "sampling_rate"}})
