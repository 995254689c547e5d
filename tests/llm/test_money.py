"""Prices, sums without rounding, and the cap that no run of any kind exceeds."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from pydantic import BaseModel

from synthdiv.config import find
from synthdiv.errors import Paused, UserError
from synthdiv.llm import LLMConfig, Request, Sampling, Session, open_session
from synthdiv.llm.money import PICO, Price, most_input_tokens, price_of
from synthdiv.llm.protocol import Answer, Call, Transient, Usage
from synthdiv.llm.store import Store

TABLE = find("configs/prices.json")


class Word(BaseModel):
    word: str


def test_the_installed_table_is_whole() -> None:
    models = json.loads(TABLE.read_text())["models"]
    for name in models:
        price = price_of(name, [TABLE])
        assert 0 < price.cached <= price.input < price.output, name


def test_prices_are_exact_and_cached_tokens_cheaper() -> None:
    price = price_of("gpt-4o-mini", [TABLE])
    assert price == Price(150_000, 75_000, 600_000)  # 0.15, 0.075 and 0.60 USD per million
    usage = Usage(1_000_000, 400_000, 1_000_000)
    assert price.cost(usage) / PICO == pytest.approx(0.6 * 0.15 + 0.4 * 0.075 + 0.60, abs=1e-12)
    assert price_of("gpt-4o-mini-2024-07-18", [TABLE]) == price
    assert price_of("openai/gpt-4o-mini", [TABLE]) == price
    half = price_of("gpt-4o-mini", [TABLE], "batch")
    assert half == Price(75_000, 37_500, 300_000)
    assert price_of("somebody/their-own-model", [TABLE]) is None
    assert price_of("gpt-4o-mini-tts", [TABLE]) is None


def test_a_table_of_ones_own_is_added(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(
        '{"models": {"mine": {"input": 1, "output": 2}, "gpt-4o": {"input": 9, "output": 9}}}'
    )
    assert price_of("mine", [TABLE, own]) == Price(10**6, 10**6, 2 * 10**6)
    assert price_of("gpt-4o", [TABLE, own]).input == 9 * 10**6
    assert price_of("gpt-5", [TABLE, own]) is not None
    own.write_text('{"mine": 3}')
    with pytest.raises(UserError, match=r"own\.json is not a price table"):
        price_of("mine", [TABLE, own])


@pytest.mark.parametrize("wrong", ["NaN", "-1", "Infinity", '"1"', "true"])
@pytest.mark.parametrize("which", ["input", "cached", "output"])
def test_a_price_that_is_no_number_from_0_on_is_refused(
    tmp_path: Path, which: str, wrong: str
) -> None:
    own = tmp_path / "own.json"
    price = {"input": "1", "cached": "1", "output": "2"} | {which: wrong}
    words = ", ".join(f'"{name}": {value}' for name, value in price.items())
    own.write_text(f'{{"models": {{"mine": {{{words}}}}}}}')
    with pytest.raises(UserError, match=rf"own\.json: the price of 'mine', {which}, is "):
        price_of("mine", [TABLE, own])
    own.write_text(f'{{"models": {{}}, "factors": {{"batch": {wrong}}}}}')
    with pytest.raises(UserError, match=r"own\.json: factor 'batch' is "):
        price_of("gpt-4o", [TABLE, own], "batch")


def test_a_cap_needs_a_price(tmp_path: Path) -> None:
    config = LLMConfig(
        backend="openai", model="unheard-of", base_url="http://127.0.0.1:1/v1", max_cost_usd=1.0
    )
    with pytest.raises(UserError, match=r"needs the price of 'unheard-of'.*LLM\.prices"):
        open_session(config, tmp_path / "a.sqlite")


class Charging:
    """A server that charges any number of tokens that the call allows, and loses some answers."""

    name, model = "charging", "any"

    def __init__(self, price: Price, draw: random.Random) -> None:
        self.price, self.draw = price, draw
        self.charged = self.calls = self.in_flight = self.most_in_flight = 0

    async def complete(self, call: Call) -> Answer:
        self.calls += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self.draw.random() * 0.002)
        self.in_flight -= 1
        fate = self.draw.random()
        if fate < 0.1:
            raise Transient("429 slow down", overloaded=fate < 0.05)  # not charged
        most = most_input_tokens(call.messages, len(json.dumps(call.schema)))
        prompt = self.draw.randint(1, most)
        usage = Usage(prompt, self.draw.randint(0, prompt), self.draw.randint(1, call.max_tokens))
        self.charged += self.price.cost(usage)
        if fate < 0.15:
            raise Transient("the connection broke", lost=True)  # charged for nothing
        text = '{"word": "yes"}' if fate < 0.8 else '{"word": 7}'
        return Answer(text, usage, "length" if fate > 0.95 else "stop", counted=fate < 0.9)

    async def close(self) -> None:
        pass

    def deferred(self) -> str | None:
        return None


def _capped_run(seed: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, bool]:
    """One store, asked once or twice; returns what was charged, the cap, whether it stopped."""
    draw = random.Random(seed)
    price = Price(*(draw.randint(1, 10**8) for _ in range(3)))
    requests = [
        Request(
            ({"role": "user", "content": "é" * draw.randrange(400) + str(i)},),
            Word,
            Sampling(max_tokens=draw.randint(1, 400)),
        )
        for i in range(draw.randint(5, 40))
    ]
    likely = sum(price.cost(Usage(400, 0, r.sampling.max_tokens)) for r in requests)
    cap = draw.randint(1, 2 * likely)
    server = Charging(price, draw)
    stopped = False
    for _ in range(draw.choice((1, 2))):
        config = LLMConfig(
            concurrency=draw.choice((1, 3, 16, 64)), max_cost_usd=cap / PICO, retries=3
        )
        with Session(config, server, price, path) as session:
            try:
                replies = session.ask_all(requests)
                assert all((r.value is None) == (r.failure is not None) for r in replies)
            except Paused as pause:
                assert "`max_cost_usd=" in str(pause)
                stopped = True
    store = Store(path)
    totals = store.totals()
    store.close()
    assert totals.claimed == 0
    assert totals.calls == server.calls
    assert server.charged <= totals.spent + totals.lost
    return server.charged, cap, stopped


def _check_caps(runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthdiv.llm.exchange._BACKOFF_S", 0.001)
    stops = used = 0
    for seed in range(runs):
        charged, cap, stopped = _capped_run(seed, tmp_path / f"{seed}.sqlite", monkeypatch)
        assert charged <= cap, f"run {seed} cost {charged} of {cap} pico-dollars"
        stops += stopped
        used += charged > cap / 4
    assert runs / 10 < stops < runs  # some stop and some do not
    assert used > runs / 5  # and the caps are made use of


def test_no_run_exceeds_its_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _check_caps(16, tmp_path, monkeypatch)


@pytest.mark.slow
def test_no_run_of_a_thousand_exceeds_its_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_caps(1000, tmp_path, monkeypatch)
