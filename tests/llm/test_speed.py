"""Hours of a plan follow from the stated speed of a server and the limits of an account."""

import pytest

from synthdiv.errors import UserError
from synthdiv.llm import LLMConfig, open_session
from synthdiv.llm.speed import Speed, parse_speed


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("50 requests/s", Speed(50, "requests/s")),
        ("9,000tokens/s", Speed(9000, "tokens/s")),
        (" 1.5e4 tokens/s ", Speed(15000, "tokens/s")),
        ("12 s/call", Speed(12, "s/call")),
        ("", None),
    ],
)
def test_a_speed_is_read(text: str, speed: Speed | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["fast", "50", "0 requests/s", "-1 tokens/s", "1e999 s/call", "."])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no speed of a server"):
        LLMConfig(speed=text)


def test_time_by_each_unit() -> None:
    assert Speed(50, "requests/s").seconds(1000, 7, 1) == 20
    assert Speed(50, "tokens/s").seconds(1000, 500, 1) == 10
    assert Speed(12, "s/call").seconds(1001, 7, 100) == 132  # the last one goes alone


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, None),
        ({"speed": "2 requests/s"}, "calls / 2"),
        ({"speed": "100 tokens/s"}, "output / 100"),
        ({"speed": "3 s/call", "concurrency": 1}, "calls * 3"),
        ({"speed": "1e9 requests/s", "requests_per_minute": 30}, "calls * 2"),
        ({"tokens_per_minute": 60}, "input + output"),
    ],
)
def test_a_plan_has_hours_where_a_speed_is_known(settings, seconds, tmp_path) -> None:
    from synthdiv.diversity import ScoreConfig
    from synthdiv.diversity.planning import plan_score
    from synthdiv.files import Corpus

    corpus = Corpus([f"text {number} of something" for number in range(40)])
    with open_session(LLMConfig(**settings), None, asking=False) as session:
        plan = plan_score([corpus], ScoreConfig(rounds=20), session)
    if seconds is None:
        assert plan.hours is None and "hours" not in str(plan)
        return
    expected = [eval(seconds, vars(stage)) for stage in plan.stages]
    assert [stage.seconds for stage in plan.stages] == pytest.approx(expected)
    assert plan.hours == pytest.approx(sum(expected) / 3600)
    assert f"{plan.hours:,.2f}" in str(plan).splitlines()[-1]
    assert str(plan).splitlines()[0].endswith("hours")
