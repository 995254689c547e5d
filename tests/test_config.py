"""Bindings reach the dataclasses, and a wrong one is refused with the nearest right one."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from synthdiv import config
from synthdiv.diversity import ScoreConfig
from synthdiv.errors import UserError
from synthdiv.llm import LLMConfig


@dataclasses.dataclass(frozen=True)
class InnerConfig:
    width: int = 4
    rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class OuterConfig:
    steps: int = 10
    name: str | None = None
    inner: InnerConfig = InnerConfig()

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError("steps must not be negative")


def load(*bindings, files=()):
    return config.load([OuterConfig], files, bindings).get(OuterConfig)


def test_defaults_bindings_scopes_and_overrides():
    bound = config.load([OuterConfig], [], ["Outer.steps=5", "Inner.width=9", "s/Inner.width=3"])
    assert bound.get(OuterConfig) == OuterConfig(5, None, InnerConfig(9))
    assert bound.get(OuterConfig, "s", steps=7, name=None) == OuterConfig(7, None, InnerConfig(3))
    assert load() == OuterConfig()  # nothing is left over from the load before


def test_an_int_is_a_fine_float():
    assert load("Inner.rate=1").inner.rate == 1


def test_paths_and_scalars_of_numpy_are_settings_too(tmp_path):
    (tmp_path / "prices.json").write_text('{"models": {}}')
    asked = LLMConfig(prices=tmp_path / "prices.json", retries=np.int64(3), timeout=np.float32(1.5))
    assert asked == LLMConfig(prices=str(tmp_path / "prices.json"), retries=3, timeout=1.5)
    score = ScoreConfig(
        criteria=tmp_path / "prices.json",
        rounds=np.uint8(7),
        verify=np.False_,
        target_ci=np.array(0.5),
    )
    plain = ScoreConfig(
        criteria=str(tmp_path / "prices.json"), rounds=7, verify=False, target_ci=0.5
    )
    assert json.dumps(dataclasses.asdict(score)) == json.dumps(dataclasses.asdict(plain))
    assert config.load([OuterConfig]).get(OuterConfig, steps=np.int32(4)) == OuterConfig(4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": np.float64(7.0)}, "Score.rounds takes int, not 7.0"),
        ({"rounds": np.arange(2)}, "Score.rounds takes int, not array"),
        ({"rounds": True}, "Score.rounds takes int, not True"),
        ({"target_ci": np.float64("nan")}, "Score.target_ci must be a finite number, not nan"),
        ({"criteria": 7}, "Score.criteria takes str or None, not 7"),
        ({"level": Path("a.b")}, "Score.level takes str, not "),
    ],
)
def test_what_a_setting_does_not_take_is_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        ScoreConfig(**wrong)


def test_files_include_and_later_ones_win(tmp_path):
    (tmp_path / "a.gin").write_text("n = 3\nOuter.steps = %n\nInner.width = 8\n")
    (tmp_path / "b.gin").write_text(f"include '{tmp_path}/a.gin'\nInner.width = 5\n")
    assert load(files=[tmp_path / "b.gin"]) == OuterConfig(3, None, InnerConfig(5))
    assert load("n = 4", files=[tmp_path / "b.gin"]).steps == 4


def test_the_text_in_force_can_be_loaded_again(tmp_path):
    text = config.load([OuterConfig], [], ["Outer.steps=5", "s/Inner.width=3"]).text
    (tmp_path / "again.gin").write_text(text)
    again = config.load([OuterConfig], [tmp_path / "again.gin"])
    assert again.text == text and again.get(OuterConfig, "s").inner.width == 3


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("Outer.stps=5", "did you mean 'Outer.steps'"),
        ("Outr.steps=5", "did you mean 'Outer'"),
        ("Outer.inner=5", "no parameter 'Outer.inner'"),
        ("Outer.steps", "Scope.parameter=value"),
        ("steps=5", "names no parameter as Scope.parameter; did you mean 'Outer.steps'"),
        ("Outer.steps=(1", "Outer.steps"),
        ("Outer.steps='many'", "takes int, not 'many'"),
        ("Outer.steps=-1", "must not be negative"),
    ],
)
def test_a_wrong_binding_is_one_clear_line(binding, message):
    with pytest.raises(UserError) as refusal:
        load(binding)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_binding_of_another_commands_scope_is_refused():
    config.load([InnerConfig, OuterConfig])
    with pytest.raises(UserError, match=r"Outer\.steps"):
        config.load([InnerConfig], [], ["Outer.steps=5"])


def test_missing_files_name_the_nearest(tmp_path):
    with pytest.raises(UserError, match="did you mean 'configs/"):
        load(files=["configs/study/quickstat.gin"])
    (tmp_path / "a.gin").write_text("include 'absent.gin'\n")
    with pytest.raises(UserError, match=r"a\.gin includes 'absent\.gin'"):
        load(files=[tmp_path / "a.gin"])
    (tmp_path / "b.gin").write_text("include 'configs/absent/absent.gin'\n")
    with pytest.raises(UserError, match=r"b\.gin includes 'configs/absent"):
        load(files=[tmp_path / "b.gin"])
    (tmp_path / "c.gin").write_text(f"include '{tmp_path}/c.gin'\n")
    with pytest.raises(UserError, match="includes itself"):
        load(files=[tmp_path / "c.gin"])


def test_installed_configs_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = config.find("configs/study/quickstart.gin")
    assert inside == config.find("study/quickstart.gin") and inside.is_file()


def test_a_negative_seed_is_refused_by_its_name():
    from synthdiv.baselines import BaselineConfig
    from synthdiv.diversity import ScoreConfig
    from synthdiv.generation import GenerateConfig, TopicsConfig

    for target in (BaselineConfig, GenerateConfig, ScoreConfig, TopicsConfig):
        name = f"{target.__name__.removesuffix('Config')}.seed"
        with pytest.raises(UserError, match=name):
            config.load([target], bindings=[f"{name}=-1"]).get(target)


def test_a_name_that_is_too_long_is_no_file() -> None:
    with pytest.raises(UserError, match="no config file"):
        config.find("x" * 300)
