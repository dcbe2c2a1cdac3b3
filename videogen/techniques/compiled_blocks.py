"""Regional compilation: the repeated blocks of each denoiser are compiled for a run, as the innermost technique.

One compiled block serves all of its kind, so that compiling takes seconds instead of minutes. Techniques attach first:
sparse attention becomes an operator in the compiled graph, and blocks in which something else is attached are left as
they are. At the end of the run the model is as it was; the code that torch compiled is used again by the next run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch import nn

from videogen.attention.dispatch import attention_modules
from videogen.backbones.base import Backbone
from videogen.backbones.load_options import CUDA_GRAPHS
from videogen.core.attachment import attachments_in
from videogen.core.branch import Branch
from videogen.core.errors import UnsupportedError
from videogen.sampling.loop import LoopState
from videogen.sampling.step_plan import StepRow
from videogen.sampling.technique import Technique

from .sparse_attention import SparseAttentionTechnique

SECTION = "compiled"
_log = logging.getLogger("videogen")


class CompiledBlocks(Technique):
    """Compiled blocks of every denoiser, where the model was loaded with `compile`; nothing otherwise."""

    def __init__(self, backend: str = "inductor") -> None:
        """backend: of torch.compile."""
        self._backend = backend
        self._undo: list[Callable[[], None]] = []
        self._graphs = False
        self._report: dict[str, Any] = {}

    def begin(self, backbone: Backbone, plan: list[StepRow], state: LoopState) -> None:
        if not backbone.compile:
            return
        self._graphs = backbone.compile == CUDA_GRAPHS
        for technique in state.techniques:
            if isinstance(technique, SparseAttentionTechnique) and technique.handle is not None:
                self._undo.append(technique.handle.use_operator())
        compiled, left = 0, 0
        for model in backbone.denoisers():
            for block in find_repeated_blocks(model):
                parts = list(_free_parts(block))
                left += block not in parts
                compiled += len(parts)
                for part in parts:
                    self._compile(part)
        if not compiled:
            raise UnsupportedError(
                f"{backbone.name!r} has no repeated blocks that could be compiled; load it without compile"
            )
        self._report = {"regions": compiled, "blocks_with_attachments": left, "cuda_graphs": self._graphs}

    def around(self, row: StepRow, branch: Branch) -> AbstractContextManager[object]:
        return _compiling(self._graphs) if self._undo else ExitStack()

    def end(self) -> dict[str, Any]:
        for undo in reversed(self._undo):
            undo()
        self._undo = []
        return {SECTION: self._report} if self._report else {}

    def _compile(self, module: nn.Module) -> None:
        if module._compiled_call_impl is not None:
            return  # the user's own
        module.compile(backend=self._backend, mode="reduce-overhead" if self._graphs else None)

        def undo() -> None:
            module._compiled_call_impl = None

        self._undo.append(undo)


def find_repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks that a denoiser repeats: of the classes that diffusers names, else the items of its lists of modules
    with attention."""
    names = set(getattr(model, "_repeated_blocks", None) or ())
    if names:
        return [module for module in model.modules() if type(module).__name__ in names]
    attending = {module for _, module in attention_modules(model)}
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    found = [block for items in lists for block in items if attending & set(block.modules())]
    inner = {part for block in found for part in block.modules() if part is not block}
    return [block for block in found if not inner & {block}]


def _free_parts(block: nn.Module) -> Iterator[nn.Module]:
    """The block, or those of its children in which nothing is attached."""
    if not any(attachments_in(block)):
        yield block
        return
    for child in block.children():
        if not any(attachments_in(child)) and any(True for _ in child.parameters()):
            yield child


@contextmanager
def _compiling(graphs: bool) -> Iterator[None]:
    """For the calls of compiled code: hooks are guarded, so that no code is used that was compiled without them."""
    import torch._dynamo

    if graphs:
        torch.compiler.cudagraph_mark_step_begin()
    with torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
        yield
