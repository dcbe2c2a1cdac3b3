"""Attachments: forwards that nest and are detached in any order, refused copies, and checks that name a conflict."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from videogen.core.attachment import Attachment, ForwardAttachment, attachments_on, check_free, check_not_compiled
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


class Itself(Scaled):
    """Replaces forward with itself, a callable object, instead of a bound method."""

    __call__ = Scaled.forward

    @property
    def replacement(self) -> Callable[..., Any]:
        return self


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
@pytest.mark.parametrize("kind", [Scaled, Itself])
def test_nested_forwards_are_detached_in_any_order(order: tuple[int, ...], kind: type[Scaled]) -> None:
    one, x, factors = module(), torch.ones(3), [2.0, 4.0, 8.0]
    plain = one(x)
    attached = [kind(one, factor) for factor in factors]
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


def test_a_second_detach_leaves_a_later_attachment_alone() -> None:
    one, x = module(), torch.ones(3)
    plain, first = one(x), Scaled(one, 2.0)
    first.detach()
    later = Scaled(one, 4.0)
    first.detach()
    assert torch.equal(one(x), plain * 4)
    later.detach()


@pytest.mark.parametrize("use", [copy.deepcopy, pickle.dumps], ids=["copy", "pickle"])
@pytest.mark.parametrize(
    ("attach", "kind"),
    [
        pytest.param(Doubled, "doubling", id="a forward"),
        pytest.param(lambda m: Itself(m, 2.0), "scaling", id="a callable as forward"),
        pytest.param(Watching, "watching", id="a hook"),
    ],
)
def test_a_model_with_an_attachment_is_not_copied(
    use: Callable[[Any], Any], attach: Callable[[nn.Module], Attachment], kind: str
) -> None:
    model = nn.Sequential(module())
    attach(model[0])
    with pytest.raises(InputError, match=f"cannot be copied or saved while {kind} is attached; close"):
        use(model)


def test_a_conflict_names_what_is_attached_wherever_it_is_in_the_chain() -> None:
    one = module()
    attached = Doubled(one), Watching(one), Itself(one, 3.0)
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
        check_not_compiled(compiled(model), name)
