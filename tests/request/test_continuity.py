"""Continuity settings as a user gives them, and the table of policies behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from videogen.core.errors import InputError, UnsupportedError
from videogen.request.continuity import Continuity, without_unused_settings
from videogen.request.continuity_noise import NOISES
from videogen.request.continuity_policies import NEEDS, POLICIES, PRESETS, ROWS, automatic_policy, trial_names


@pytest.mark.parametrize("name", ROWS)
def test_a_policy_name_equals_its_fields_as_plain_data(name: str) -> None:
    parsed = Continuity.parse(name)
    same = (
        Continuity.from_dict(parsed.to_dict()),
        Continuity.from_value(parsed.to_dict()),
        Continuity.from_value(parsed),
    )
    assert all(value == parsed for value in same)
    assert parsed.for_clip(9).for_clip(9) == parsed.for_clip(9), "resolving again changes nothing"


def test_presets_and_settings() -> None:
    assert Continuity.parse("cono_v") == Continuity("look_back", noise="cono", mean_regularisation=0.2)
    assert Continuity.parse("cono_v:mean_regularisation=0,refresh=0.3") == Continuity(
        "look_back", noise="cono", refresh=0.3
    )
    assert Continuity.parse(" co_denoise_shuffled:overlap=4 ") == Continuity("co_denoise", noise="freenoise", overlap=4)
    assert Continuity.parse("co_denoise:windows=all").windows is None
    assert all(Continuity.parse(row.spec) == Continuity.parse(name) for name, row in PRESETS.items())


def test_names_of_papers_are_what_they_published() -> None:
    """FreeNoise: window attention on its noise, weights 1 to 8, the video as one clip. CoNo: a constant regularisation
    of the model's own predictions."""
    freenoise, cono = Continuity.parse("freenoise"), Continuity.parse("cono")
    assert (freenoise.policy, freenoise.noise, freenoise.weights, freenoise.windows) == (
        "window_attention", "freenoise", "pyramid", None,
    )  # fmt: skip
    assert freenoise.fusion == "attention"
    assert freenoise.for_clip(16).overlap == 12, "windows every 4 frames"
    assert (cono.policy, cono.noise, cono.mean_space, cono.mean_power) == ("look_back", "cono", "prediction", 0)
    assert cono.for_clip(16).overlap == 6 and cono.for_clip(16).release == 0.8, "6 of 16 frames in 40 of 50 steps"


def test_settings_of_few_policies_are_recorded_only_where_they_are_set() -> None:
    """So that the records of earlier versions stay equal."""
    earlier = {"policy", "overlap", "fade", "release", "mean_regularisation", "noise", "refresh", "windows"}
    assert set(Continuity.parse("cono_v").to_dict()) == earlier
    assert set(Continuity.parse("look_back:n2=3,mean_of=first").to_dict()) == {*earlier, "n2", "mean_of"}


def test_the_earlier_name_of_the_mean_regularisation_is_taken() -> None:
    expected = Continuity("look_back", noise="cono", mean_regularisation=0.1)
    assert Continuity.parse("cono_v:pull=0.1") == expected
    assert Continuity.from_dict({"policy": "look_back", "noise": "cono", "pull": 0.1}) == expected
    earlier: Any = Continuity
    assert earlier("look_back", noise="cono", pull=0.1) == expected and earlier("replay", pull=0.3).pull == 0.3
    assert "pull" not in expected.to_dict()
    with pytest.raises(TypeError, match="pull is the earlier name of mean_regularisation"):
        earlier(pull=0.1, mean_regularisation=0.1)


@pytest.mark.parametrize(
    ("needs", "with_motion", "policy"),
    [
        pytest.param({"clean_prefix"}, False, "clean_prefix", id="a model that continues clean frames"),
        pytest.param({"clean_prefix", "temporal_blocks"}, False, "clean_prefix", id="a UNet that does so"),
        pytest.param({"temporal_blocks"}, False, "overlap", id="a UNet"),
        pytest.param(set(), False, "replay", id="a transformer"),
        pytest.param({"first_frame"}, False, "replay", id="a first frame alone does not count"),
        pytest.param({"clean_prefix", "temporal_blocks"}, True, "overlap", id="a UNet's motion"),
        pytest.param({"clean_prefix"}, True, "replay", id="a transformer's motion"),
    ],
)
def test_the_automatic_policy(needs: set[str], with_motion: bool, policy: str) -> None:
    assert automatic_policy(frozenset(needs), with_motion=with_motion) == policy


def test_the_table_is_consistent() -> None:
    assert not set(POLICIES) & set(PRESETS)
    for name, row in ROWS.items():
        assert row.name == name and row.description and row.need in ("", *NEEDS)
    for row in POLICIES.values():
        assert set(row.noises) <= set(NOISES) and (row.overlap is None or 0 < row.overlap < 1) and 0 <= row.release <= 1
        assert row.automatic is None or row.automatic.model in ("", *NEEDS)
    assert set(trial_names()) == {name for name, row in ROWS.items() if row.trial_order is not None}
    assert trial_names()[0] == "replay", "the cheapest first"
    assert any(row.automatic and not row.automatic.model and row.automatic.with_motion for row in POLICIES.values())


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        pytest.param({"policy": "independent", "windows": 9}, {"windows": 4}, id="windows of a chain"),
        pytest.param({"policy": "overlap", "release": 0.2, "windows": 2}, {"release": None, "windows": 4}, id="two"),
        pytest.param({"policy": "i2v_prefix", "overlap": 4}, {"overlap": None}, id="fixed overlap"),
        pytest.param({"policy": "replay", "overlap": 4, "release": 0.2}, {}, id="settings of the policy stay"),
    ],
)
def test_settings_that_earlier_versions_stored_without_an_effect_are_left_out(
    stored: dict[str, Any], read: dict[str, Any]
) -> None:
    complete = Continuity().to_dict() | stored
    assert Continuity.from_dict(complete).to_dict() == without_unused_settings(complete) == complete | read


def check_minimal_model(policy: str) -> None:
    """Check a policy against a model that meets none of its needs."""
    Continuity(policy).check_model((), name="m")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        pytest.param(lambda: Continuity.parse("replya"), InputError, "did you mean 'replay'", id="misspelt"),
        pytest.param(lambda: Continuity.parse("replay:overlap"), InputError, "is not name=value", id="no value"),
        pytest.param(
            lambda: Continuity.parse("replay:overlpa=3"), InputError, "did you mean 'overlap'", id="setting misspelt"
        ),
        pytest.param(lambda: Continuity.parse("replay:overlap=0"), InputError, "overlap=0 must be", id="no overlap"),
        pytest.param(
            lambda: Continuity.parse("replay:overlap=x"), InputError, "overlap='x' must be", id="not a number"
        ),
        pytest.param(lambda: Continuity.parse("replay:release=1.2"), InputError, r"release=1\.2 must be", id="release"),
        pytest.param(
            lambda: Continuity.parse("replay:noise=cono"),
            InputError,
            "replay does not go with noise=cono; use noise=iid",
            id="noise of another policy",
        ),
        pytest.param(
            lambda: Continuity.parse("replay:refresh=0.1"),
            InputError,
            r"refresh=0\.1 is a setting of look_back, not of replay",
            id="refresh",
        ),
        pytest.param(
            lambda: Continuity.parse("independent:mean_regularisation=0.1"),
            InputError,
            r"mean_regularisation=0\.1 is a setting of overlap and replay.*, not of independent; leave it out",
            id="mean regularisation without a retained mean",
        ),
        pytest.param(
            lambda: Continuity.parse("cono:n2=0"), InputError, "n2=0 must be a whole number of at least 1", id="n2"
        ),
        pytest.param(
            lambda: Continuity.parse("cono:mean_power=-1"),
            InputError,
            "mean_power=-1 must be a number of at least 0",
            id="mean_power",
        ),
        pytest.param(
            lambda: Continuity.parse("cono:mean_space=epsilon"), InputError, "prediction, v, x0, eps", id="mean_space"
        ),
        pytest.param(
            lambda: Continuity.parse("replay:weights=pyramid"),
            InputError,
            "weights=pyramid is a setting of co_denoise and window_attention, not of replay",
            id="weights",
        ),
        pytest.param(
            lambda: Continuity.parse("cono:fade=2"),
            InputError,
            "fade=2 is a setting of overlap and replay.*, not of look_back",
            id="fade",
        ),
        pytest.param(
            lambda: Continuity.parse("replay:overlap=2,fade=3").for_clip(9),
            InputError,
            "fade=3 is more than",
            id="fade too long",
        ),
        pytest.param(
            lambda: Continuity.parse("replay").for_clip(2),
            InputError,
            "2 latent frames is too short",
            id="clip too short",
        ),
        pytest.param(
            lambda: check_minimal_model("clean_prefix"),
            UnsupportedError,
            "a timestep for each frame",
            id="no timesteps",
        ),
        pytest.param(lambda: check_minimal_model("i2v_prefix"), UnsupportedError, "a first frame", id="no first frame"),
        pytest.param(
            lambda: check_minimal_model("window_attention"),
            UnsupportedError,
            "temporal layers",
            id="no temporal layers",
        ),
    ],
)
def test_refusals(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
