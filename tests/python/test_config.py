import dataclasses
import json
import subprocess
import sys

import pytest

from dgms_keras.config import DGMSConfig


def test_defaults():
    assert dataclasses.asdict(DGMSConfig()) == {
        "bits": 4,
        "posterior": "mixture",
        "temperature": 0.01,
        "learn_temperature": True,
        "gamma_init": "cluster",
        "weight_gradient": "straight_through",
        "training_weight": "soft",
        "layers": None,
        "skip_first_last": True,
        "granularity": "layer",
        "weight_method": "mixture",
        "activation_bits": None,
        "activation_method": "qil",
        "overrides": None,
        "seed": 0,
        "strict": False,
    }


def test_paper_sets_the_papers_choices():
    config = DGMSConfig.paper(2, seed=3)
    assert (config.bits, config.posterior, config.weight_gradient, config.training_weight) == (
        2,
        "paper",
        "mixture",
        "soft",
    )
    assert (config.temperature, config.learn_temperature, config.gamma_init) == (0.01, True, "cluster")
    assert (config.skip_first_last, config.granularity, config.seed) == (True, "layer", 3)


def test_it_is_frozen_and_compares_by_value():
    config = DGMSConfig(bits=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.bits = 2
    assert config == DGMSConfig(bits=3) != DGMSConfig(bits=2)


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("bits", 5, ValueError, r"`bits` must be 2, 3 or 4. Received: bits=5"),
        ("bits", True, ValueError, "bits=True"),
        ("bits", 4.0, ValueError, "bits=4.0"),
        ("bits", "4", ValueError, "bits='4'"),
        ("posterior", "other", ValueError, "one of 'mixture', 'paper'"),
        ("temperature", 0, ValueError, "`temperature` must be a finite number > 0"),
        ("temperature", -1.0, ValueError, "temperature=-1.0"),
        ("temperature", float("nan"), ValueError, "temperature=nan"),
        ("temperature", float("inf"), ValueError, "temperature=inf"),
        ("temperature", "0.1", ValueError, "temperature='0.1'"),
        ("learn_temperature", 1, TypeError, "must be True or False"),
        ("gamma_init", "other", ValueError, "'cluster' or a finite number > 0"),
        ("gamma_init", 0.0, ValueError, "gamma_init=0.0"),
        ("gamma_init", True, ValueError, "gamma_init=True"),
        ("weight_gradient", "none", ValueError, "`weight_gradient`"),
        ("training_weight", "none", ValueError, "`training_weight`"),
        ("skip_first_last", None, TypeError, "`skip_first_last`"),
        ("strict", "yes", TypeError, "`strict`"),
        ("granularity", 0, ValueError, "`granularity` must be 'layer' or"),
        ("granularity", "channel", ValueError, "granularity='channel'"),
        ("granularity", 1.5, ValueError, "granularity=1.5"),
        ("seed", -1, ValueError, "`seed`"),
        ("seed", 0.5, ValueError, "`seed`"),
        ("layers", 3, TypeError, "`layers`"),
        ("layers", [1], TypeError, "`layers`"),
        ("layers", "(", ValueError, "valid regular expressions"),
        ("overrides", ["a"], TypeError, "`overrides`"),
        ("overrides", {"(": {}}, ValueError, "valid regular expressions"),
        ("overrides", {"a": 2}, TypeError, "dict of DGMSConfig fields"),
        ("overrides", {"a": {"layers": "b"}}, ValueError, "may change bits"),
        ("overrides", {"a": {"bits": 7}}, ValueError, r"bits=7 \(in `overrides` for 'a'\)"),
    ],
)
def test_a_bad_value_is_rejected_by_name(field, value, error, message):
    with pytest.raises(error, match=message):
        DGMSConfig(**{field: value})


def test_json_round_trip_is_exact():
    config = DGMSConfig(
        bits=3,
        temperature=0.1 + 0.2,
        gamma_init=0.01,
        layers=["a.*", "b"],
        overrides={"b/.*": {"bits": 2, "granularity": 4}},
        granularity=8,
        strict=True,
    )
    again = DGMSConfig.from_json(config.to_json())
    assert again == config
    assert again.temperature == 0.1 + 0.2
    assert DGMSConfig.from_config(json.loads(json.dumps(config.get_config()))) == config


@pytest.mark.parametrize("field", ["layers", "overrides"])
def test_functions_cannot_be_serialised(field):
    with pytest.raises(ValueError, match=f"`{field}` must be a pattern"):
        DGMSConfig(**{field: lambda path: None}).to_json()


def test_unknown_fields_are_named():
    with pytest.raises(TypeError, match="Received: bitz"):
        DGMSConfig.from_config({"bitz": 4})
    with pytest.raises(TypeError, match="Received: 'bitz'"):
        DGMSConfig().replace(bitz=4)


@pytest.mark.parametrize(
    ("layers", "taken"),
    [
        (None, ["a", "m/a", "m/b"]),
        ("a", ["a"]),
        ("m/.*", ["m/a", "m/b"]),
        (["a", "m/b"], ["a", "m/b"]),
        ((), []),
        (lambda path: path.endswith("a"), ["a", "m/a"]),
    ],
)
def test_the_layer_filter_matches_whole_paths(layers, taken):
    assert [p for p in ("a", "m/a", "m/b") if DGMSConfig(layers=layers).selects(p)] == taken


def test_overrides_by_pattern_take_the_first_match():
    config = DGMSConfig(overrides={"a/.*": {"bits": 2}, ".*/b": {"bits": 3, "seed": 7}}, layers="a/.*", strict=True)
    assert config.for_layer("a/b") == DGMSConfig(bits=2, strict=True)
    assert config.for_layer("c/b") == DGMSConfig(bits=3, seed=7, strict=True)
    assert config.for_layer("c") == DGMSConfig(strict=True)


def test_it_keeps_a_copy_of_the_overrides():
    overrides = {"a": {"bits": 2}}
    config = DGMSConfig(overrides=overrides)
    overrides["a"]["bits"] = 3
    assert config.for_layer("a").bits == 2


def test_overrides_by_function():
    config = DGMSConfig(overrides=lambda path: {"bits": 2} if path == "a" else None)
    assert config.for_layer("a").bits == 2
    assert config.for_layer("b").bits == 4
    with pytest.raises(ValueError, match=r"bits=9 \(in `overrides` for 'x'\)"):
        DGMSConfig(overrides=lambda path: {"bits": 9}).for_layer("x")


def test_importing_it_imports_no_framework():
    code = "import sys, dgms_keras.config, dgms_keras.frozen; print({'keras', 'tensorflow', 'jax'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )
