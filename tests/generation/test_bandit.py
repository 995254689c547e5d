"""The bandit's arms, and where it puts a wave."""

from collections import Counter

import numpy as np
import pytest

from synthdiv.config import find
from synthdiv.diversity.growing import WaveRound
from synthdiv.errors import UserError
from synthdiv.generation import GenerateConfig
from synthdiv.generation.bandit import Arms, place_wave
from synthdiv.generation.plan import CorpusPlan
from synthdiv.generation.writers import Writers

SEEDS = find("configs/topics/seeds.jsonl")


def arms(kinds=("branch",), depth=1, taken=(), **settings):
    config = GenerateConfig(**({"topics": 40, "generations": 3} | settings))
    plan = CorpusPlan(SEEDS, config)
    writers = Writers([None] * max(len(config.writers), 1), list(config.writers.values()))
    return plan, Arms(plan, writers, kinds, depth, taken)


def test_an_arm_hands_out_its_requests_in_order_and_each_once():
    plan, dealt = arms()
    name = dealt.names[0]
    own = [n for n in range(len(plan)) if plan.topics[n % 40].path[0] == name]
    assert [dealt.take(name) for _ in own] == own and dealt.take(name) is None
    rest = dealt.take_any(10_000)
    assert sorted(own + rest) == list(range(len(plan))) and rest == sorted(rest)


def test_what_earlier_waves_had_is_not_handed_out_again():
    plan, dealt = arms()
    first = [dealt.take(name) for name in dealt.names] + dealt.take_any(7)
    _, again = arms(taken=first)
    assert again.names == dealt.names  # so that an interrupted run draws the same
    for name in dealt.names:
        assert again.take(name) == dealt.take(name)
    assert again.take_any(1000) == dealt.take_any(1000)


def test_arms_may_be_styles_writers_and_combinations():
    two = {"openai:a": 1.0, "openai:b": 1.0}
    plan, dealt = arms(("style", "writer"), family="topic_styles", writers=two)
    assert len(dealt.names) == len(plan.styles) * 2
    number = dealt.take(dealt.names[0])
    assert dealt.of(number).split(" | ")[0] == plan.assignment(number).style.name
    _, people = arms(("persona",), family="topic_styles_persona", personas_per_prompt=1)
    assert len(people.names) == 120


@pytest.mark.parametrize(
    ("kinds", "words"),
    [(("stile",), "no arms of kind 'stile', .*style"), (("style",), "styles; there are branch"),
     (("persona",), "personas_per_prompt"), (("writer",), "several writers")],
)  # fmt: skip
def test_arms_that_the_plan_does_not_have_are_refused(kinds, words):
    with pytest.raises(UserError, match=words.replace(", .*style", ".*style")):
        arms(kinds)


def world(seed, size=10, count=40):
    """120 documents of four arms; one always says the same, the others never; and rounds of it."""
    random = np.random.default_rng(seed)
    documents = ["same", "a", "b", "c"] * 30
    rounds = []
    for _ in range(count):
        drawn = random.choice(120, size, replace=False)
        dull = [place for place, index in enumerate(drawn) if index % 4 == 0]
        others = [(place,) for place in range(size) if place not in dull]
        clusters = (*others, tuple(dull)) if dull else tuple(others)
        rounds.append(WaveRound(0, tuple(drawn.tolist()), clusters, ("",) * len(clusters)))
    return documents, rounds


def placed(count, documents, rounds, tokens=None, seed=(0,), names=("same", "a", "b", "c")):
    tokens = tokens or dict.fromkeys(names, 100.0)
    weights = [1.0] * len(rounds)
    return list(place_wave(count, names, documents, tokens, rounds, weights, seed))


def test_the_first_wave_gives_every_arm_its_turn():
    assert set(Counter(placed(40, [], [])).values()) == {10}


def test_a_wave_avoids_the_arm_that_says_nothing_new():
    documents, rounds = world(0)
    counts = Counter(placed(60, documents, rounds))
    assert counts["same"] <= 2 and min(counts[arm] for arm in "abc") >= 5
    assert placed(60, documents, rounds) == placed(60, documents, rounds)
    assert placed(60, documents, rounds) != placed(60, documents, rounds, seed=(1,))


def test_what_is_equally_new_goes_where_it_costs_fewer_tokens():
    documents, rounds = world(0)
    tokens = {"same": 100.0, "a": 100.0, "b": 400.0, "c": 400.0}
    counts = Counter(placed(60, documents, rounds, tokens))
    assert counts["a"] > 50


def test_an_exhausted_arm_is_passed_over_and_all_of_them_end_the_wave():
    documents, rounds = world(0)
    placing = place_wave(10, ("same", "a"), ["same"] * 120, {}, [], [], (0,))
    assert next(placing) == "a" and placing.send(True) == "same"
    with pytest.raises(StopIteration):
        placing.send(True)
