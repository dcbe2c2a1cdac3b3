"""Attachments: forwards that nest and are detached in any order, refused copies, and checks that name a conflict."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from videogen.core.attachment import (
    Attachment,
    ForwardAttachment,
    HookAttachment,
    attachments_on,
    check_free,
    check_not_compiled,
    close_handles,
)
from videogen.core.errors import InputError


class Scaled(ForwardAttachment):
    kind = "scaling"

    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__(module)
        self.factor = factor

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.original(*args, **kwargs) * self.factor


class Doubled(Scaled):
    kind = "doubling"

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module, 2.0)


class Hooked(HookAttachment):
    kind = "hooks"

    def _register_hooks(self, module: nn.Module) -> list[Any]:
        self.calls = 0
        return [module.register_forward_pre_hook(self.count)]

    def count(self, *_: Any) -> None:
        self.calls += 1


class Watching(Attachment):
    kind = "watching"

    def __init__(self, module: nn.Module) -> None:
        self.hook = module.register_forward_pre_hook(self.watch)

    def watch(self, *_: Any) -> None:
        return


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 3)


def test_a_forward_is_replaced_on_the_instance_and_restored() -> None:
    one, other, x = module(), module(), torch.ones(3)
    plain, before = one(x), dict(vars(one))
    attached = Scaled(one, 4.0)
    assert torch.equal(one(x), plain * 4) and torch.equal(other(x), plain)
    attached.detach()
    attached.detach()
    assert vars(one) == before and torch.equal(one(x), plain)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_nested_forwards_are_detached_in_any_order(order: tuple[int, ...]) -> None:
    one, x, factors = module(), torch.ones(3), [2.0, 4.0, 8.0]
    plain = one(x)
    attached = [Scaled(one, factor) for factor in factors]
    for index in order:
        attached[index].detach()
        factors[index] = 1.0
        assert torch.equal(one(x), plain * torch.tensor(factors).prod())
    assert "forward" not in vars(one)


def test_a_forward_of_other_code_is_restored() -> None:
    one, x = module(), torch.ones(3)
    own = one.forward
    one.forward = lambda x: own(x) + 1  # type: ignore[method-assign]
    theirs = one.forward
    inner, outer = Scaled(one, 2.0), Scaled(one, 4.0)
    inner.detach()
    assert torch.equal(one(x), 4 * (own(x) + 1))
    outer.detach()
    assert one.forward is theirs


@dataclass
class Foreign:
    """Other code that wraps a forward after us, and restores what it found, as accelerate's offloading does.

    named: whether the wrapper names what it wraps."""

    named: bool

    def wrap(self, one: nn.Module) -> None:
        self.found = inner = one.forward
        wrapper = functools.partial(lambda x: inner(x) + 1)
        one.forward = functools.update_wrapper(wrapper, inner) if self.named else wrapper  # type: ignore[method-assign]

    def restore(self, one: nn.Module) -> None:
        one.forward = self.found  # type: ignore[method-assign]


@pytest.mark.parametrize("named", [True, False], ids=["names what it wraps", "does not"])
@pytest.mark.parametrize("attach", [Doubled, Hooked], ids=["a forward", "hooks"])
def test_a_wrapper_that_other_code_put_on_later_survives_detaching(
    attach: Callable[[nn.Module], ForwardAttachment], named: bool
) -> None:
    one, x, foreign = module(), torch.ones(3), Foreign(named)
    plain = one(x)
    inner = attach(one)
    foreign.wrap(one)
    outer = Scaled(one, 4.0)
    factor = 2.0 if isinstance(inner, Doubled) else 1.0
    assert torch.equal(one(x), 4 * (factor * plain + 1))
    inner.detach()
    assert torch.equal(one(x), 4 * (plain + 1)) and list(attachments_on(one)) == [outer]
    outer.detach()
    assert torch.equal(one(x), plain + 1) and list(attachments_on(one)) == []
    foreign.restore(one)
    assert torch.equal(one(x), plain) and "forward" not in vars(one)


def test_an_attachment_under_a_wrapper_of_other_code_is_found() -> None:
    one = module()
    Doubled(one)
    Foreign(named=True).wrap(one)
    with pytest.raises(InputError, match="has doubling attached already"):
        check_free(one, Doubled)


def test_the_signature_of_a_forward_stays_readable() -> None:
    one = module()
    before = inspect.signature(one.forward)
    Scaled(one, 2.0), Hooked(one)
    assert inspect.signature(one.forward) == before


def test_a_second_detach_leaves_a_later_attachment_alone() -> None:
    one, x = module(), torch.ones(3)
    plain, first = one(x), Scaled(one, 2.0)
    first.detach()
    later = Scaled(one, 4.0)
    first.detach()
    assert torch.equal(one(x), plain * 4)
    later.detach()


@pytest.mark.parametrize("use", [copy.copy, copy.deepcopy, pickle.dumps], ids=["shallow copy", "copy", "pickle"])
@pytest.mark.parametrize(
    ("attach", "kind"),
    [
        pytest.param(Doubled, "doubling", id="a forward"),
        pytest.param(Hooked, "hooks", id="hooks"),
    ],
)
def test_a_model_with_an_attachment_is_not_copied(
    use: Callable[[Any], Any], attach: Callable[[nn.Module], ForwardAttachment], kind: str
) -> None:
    model = module()
    attached, outer = attach(model), Scaled(model, 2.0)
    outer.detach()
    with pytest.raises(InputError, match=f"cannot be copied or saved while {kind} is attached; close"):
        use(model)
    attached.detach()
    use(model)


@pytest.mark.parametrize("use", [copy.deepcopy, pickle.dumps], ids=["copy", "pickle"])
@pytest.mark.parametrize("attach", [Doubled, Hooked, Watching], ids=["a forward", "hooks", "a lone hook"])
def test_a_model_with_an_attachment_in_it_is_not_copied(
    use: Callable[[Any], Any], attach: Callable[[nn.Module], Attachment]
) -> None:
    model = nn.Sequential(module())
    attach(model[0])
    with pytest.raises(InputError, match="cannot be copied or saved"):
        use(model)


def test_a_conflict_names_what_is_attached_wherever_it_is_in_the_chain() -> None:
    one = module()
    attached = Doubled(one), Watching(one), Hooked(one)
    assert list(attachments_on(one)) == [attached[2], attached[0], attached[1]]
    with pytest.raises(InputError, match="Linear has doubling attached already"):
        check_free(one, Doubled)
    with pytest.raises(InputError, match="'wan' has watching attached already"):
        check_free(one, Watching, name="'wan'")
    attached[0].detach()
    check_free(one, Doubled)


@pytest.mark.parametrize("name", ["", "'wan'"], ids=["by its class", "by a name"])
@pytest.mark.parametrize(
    "compiled",
    [
        pytest.param(lambda model: torch.compile(model, backend="eager"), id="wrapped"),
        pytest.param(lambda model: model.compile(backend="eager") or model, id="in place"),
        pytest.param(lambda model: model[0].compile(backend="eager") or model, id="a submodule"),
    ],
)
def test_a_compiled_model_is_refused(compiled: Callable[[nn.Module], nn.Module], name: str) -> None:
    model = nn.Sequential(module())
    check_not_compiled(model)
    with pytest.raises(InputError, match=f"^{name or '(Sequential|OptimizedModule)'} is compiled.*first, then compile"):
        check_not_compiled(compiled(model), name=name)


def test_only_compiled_parts_with_an_attached_module_are_refused() -> None:
    inner, other = module(), module()
    part = nn.Sequential(inner)
    model = nn.Sequential(part, other)
    part.compile(backend="eager")
    check_not_compiled(model, [other])
    for places in ([inner], [part], None):
        with pytest.raises(InputError, match="Sequential is compiled"):
            check_not_compiled(model, places)
    wrapped: Any = torch.compile(other, backend="eager")
    with pytest.raises(InputError, match="Sequential is compiled"):
        check_not_compiled(nn.Sequential(inner, wrapped), [other])


def test_compiled_code_runs_the_hooks_even_after_another_instance_was_compiled() -> None:
    torch._dynamo.reset()
    other, one, x = module(), module(), torch.ones(3)
    other.compile(backend="eager")
    other(x)
    attached = Hooked(one)
    one.compile(backend="eager")
    one(x)
    assert attached.calls == 1
    attached.detach()
    one(x), other(x)
    assert attached.calls == 1


def test_lost_handles_are_closed() -> None:
    model = nn.Sequential(module(), module())
    part, full = Doubled(model[0]), Hooked(model)
    closed: list[str] = []
    for attachment in (part, full):
        attachment.handle = SimpleNamespace(close=lambda a=attachment: (a.detach(), closed.append(a.kind)))
    Watching(model[1])  # a part of another attachment, without a handle of its own
    assert close_handles([model], "hooks") == ["hooks"] == closed
    assert close_handles([model]) == ["doubling"] and close_handles([model]) == []
