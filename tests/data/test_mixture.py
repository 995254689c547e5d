"""Mixtures: exact shares, an order of the seed alone, and a position that is one number."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthdiv.data import Batches, MixtureConfig, Tokenizer, batches, tokenize_corpus
from synthdiv.data.mixture import Order
from synthdiv.errors import UserError

from .conftest import random_text, write_corpus

LENGTH = 16


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> dict[str, Path]:
    """Three tokenized corpora of different sizes, whose texts differ."""
    root = tmp_path_factory.mktemp("tokens")
    for name, number in (("web", 90), ("code", 30), ("synthetic", 7)):
        draw = random.Random(name)
        texts = [f"{name} {i} {random_text(draw, 20)}" for i in range(number)]
        corpus = write_corpus(root / f"{name}.jsonl", texts)
        tokenize_corpus(corpus, root / name, tokenizer, LENGTH, shard_bytes=4000)
    return {name: root / name for name in ("web", "code", "synthetic")}


def mix(tokens: dict[str, Path], **effective: float | None) -> MixtureConfig:
    return MixtureConfig(tuple((str(tokens[n]), e) for n, e in effective.items()))


def rows(data: Batches, number: int) -> list[dict[str, np.ndarray]]:
    return [next(data) for _ in range(number)]


def joined(found: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {k: np.concatenate([b[k] for b in found]) for k in found[0]}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("draws", [(1,), (5, 3), (4, 1, 1), (100, 1, 37, 12), (1, 1, 1, 1000)])
def test_each_source_has_its_share_at_every_position(draws: tuple[int, ...]) -> None:
    order = Order([7] * len(draws), draws, seed=0)
    total = sum(draws)
    positions = np.arange(3 * total + 1)
    counts = order.counts(positions)
    assert (counts.sum(0) == positions).all()
    steps = np.diff(counts, axis=1)
    assert ((steps == 0) | (steps == 1)).all() and (steps.sum(0) == 1).all()
    for source, share in enumerate(draws):
        assert counts[source, total] == share and counts[source, 3 * total] == 3 * share
        # Never further from its share than a sequence for each source before it, and its own.
        assert np.abs(counts[source] - positions * share / total).max() < source + 1


def test_every_epoch_reads_every_sequence_once_in_another_order() -> None:
    order = Order([50, 8], [20, 33], seed=3)
    sources, numbers = order.locate(np.arange(53 * 40))
    for source, size in enumerate((50, 8)):
        of_source = numbers[sources == source]
        epochs = of_source[: len(of_source) // size * size].reshape(-1, size)
        assert len(epochs) > 10
        assert (np.sort(epochs, axis=1) == np.arange(size)).all()
        assert len({tuple(e) for e in epochs.tolist()}) == len(epochs)


def test_the_shuffle_mixes_far_apart_sequences() -> None:
    size = 4096
    _, numbers = Order([size], [size], seed=0).locate(np.arange(size))
    assert abs(np.corrcoef(numbers, np.arange(size))[0, 1]) < 0.05
    neighbours = np.abs(np.diff(numbers))
    assert abs(neighbours.mean() / (size / 3) - 1) < 0.05  # as two uniform draws have it
    other = Order([size], [size], seed=1).locate(np.arange(size))[1]
    assert (numbers == other).mean() < 0.01


def test_effective_tokens_are_what_is_read(tokens: dict[str, Path]) -> None:
    """The paper's real data is web : code = 4 : 1 here, and the synthetic corpus is up-weighted."""
    wanted = {"web": 6000.0, "code": 1500.0, "synthetic": 3000.0}
    data = batches(mix(tokens, **wanted), 4, seed=1)
    plan = data.plan()
    read = joined(rows(data, data.steps))
    for index, (name, effective) in enumerate(wanted.items()):
        assert data.source_names[index] == name
        assert abs(plan[name]["tokens"] - effective) <= LENGTH
        got = int((read["loss_mask"].sum(1) * (read["source"] == index)).sum())
        assert abs(got - effective) < 6 * LENGTH  # padded sequences, one a shard
        assert plan[name]["epochs"] == pytest.approx(
            effective / json.loads((tokens[name] / "manifest.json").read_text())["tokens"], rel=0.02
        )
    assert plan["synthetic"]["epochs"] > 5
    counted = {n: int((read["source"] == i).sum()) for i, n in enumerate(wanted)}
    assert counted == {n: c["sequences"] for n, c in data.contributed().items()}
    data.close()


def test_one_epoch_reads_every_token_once(tokens: dict[str, Path]) -> None:
    data = batches(mix(tokens, web=None, code=None), 1)
    read = joined(rows(data, data.total_sequences))
    manifests = [json.loads((tokens[n] / "manifest.json").read_text()) for n in ("web", "code")]
    assert read["loss_mask"].sum() == sum(m["tokens"] for m in manifests)
    assert read["bytes"].sum() == sum(m["bytes"] for m in manifests)
    assert data.contributed()["web"] == {
        "sequences": manifests[0]["sequences"],
        "tokens": manifests[0]["tokens"],
        "epochs": 1.0,
    }
    data.close()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_global_batch_is_of_the_seed_alone(
    tokens: dict[str, Path], processes: int, workers: int
) -> None:
    config = mix(tokens, web=9000, synthetic=500)
    expected = joined(rows(batches(config, 8, seed=5), 12))
    parts = [
        rows(
            batches(config, 8, seed=5, process_index=p, process_count=processes, workers=workers),
            12,
        )
        for p in range(processes)
    ]
    assert all(part[0]["tokens"].shape == (8 // processes, LENGTH) for part in parts)
    assert same(joined([part[b] for b in range(12) for part in parts]), expected)
    assert not same(joined(rows(batches(config, 8, seed=6), 12)), expected)
    assert same(joined(rows(batches(config, 16, seed=5), 6)), expected)


def test_interruptions_change_nothing(tokens: dict[str, Path]) -> None:
    config = mix(tokens, web=None, code=3000, synthetic=3000)
    expected = rows(batches(config, 4, seed=2), 30)
    draw = random.Random(0)
    data, found = batches(config, 4, seed=2), []
    sizes = set()
    while len(found) < 30:
        for _ in range(min(draw.randrange(5), 30 - len(found))):
            found.append(next(data))
        state = json.loads(json.dumps(data.get_state()))
        sizes.add(len(json.dumps(state)) // 10)
        data.close()
        data = batches(config, 4, seed=2)  # as a new process would
        data.set_state(state)
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    assert len(sizes) == 1
    # Other numbers of processes and other batch sizes go on from the same position.
    data.set_state({**state, "sequences": 40})
    assert same(next(data), expected[10])
    half = batches(config, 4, seed=2, process_index=1, process_count=2)
    half.set_state({**state, "sequences": 40})
    assert np.array_equal(next(half)["tokens"], expected[10]["tokens"][2:])


def test_seeking_is_free_and_far(tokens: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data = batches(mix(tokens, web=None, synthetic=None), 4)
    state = data.get_state()
    next(data)
    data.close()
    read: list[int] = []
    plain = Order.locate

    def counted(order: Order, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        read.extend(positions.tolist())
        return plain(order, positions)

    monkeypatch.setattr(Order, "locate", counted)
    data.set_state(state | {"sequences": 10**13})
    batch = next(data)
    assert min(read) == 10**13 and len(read) < 400  # itself, and what is read ahead
    assert batch["tokens"].shape == (4, LENGTH)
    assert data.get_state()["sequences"] == 10**13 + 4
    data.close()


def test_a_position_of_another_mixture_is_refused(tokens: dict[str, Path]) -> None:
    state = batches(mix(tokens, web=None, code=None), 4).get_state()
    for other in (
        batches(mix(tokens, web=None), 4),
        batches(mix(tokens, web=None, code=9000), 4),
        batches(mix(tokens, web=None, code=None), 4, seed=1),
    ):
        with pytest.raises(UserError, match="another data mixture"):
            other.set_state(state)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ((), "Mixture.sources is empty"),
        (("{web}", ("{web}", 5.0)), "a directory twice"),
        ((("{web}", 0),), "0 effective tokens"),
        ((("{web}", -1.0),), "effective tokens"),
        ((("{web}", "many"),), "'many' effective tokens"),
        ((("{web}", 1.0, 2.0),), "is not \\(directory, effective tokens\\)"),
        ((("{web}x", 1.0),), "no tokens .*did you mean .*web'"),
        ((("{long}", None), "{web}"), "not made with the same sequence length"),
        ((("{other}", None), "{web}"), "not made with the same tokenizer"),
    ],
)
def test_bad_mixtures_are_refused(
    tokens: dict[str, Path],
    tokenizer: Tokenizer,
    tmp_path: Path,
    sources: tuple[Any, ...],
    message: str,
) -> None:
    from synthdiv.data import train_tokenizer

    corpus = write_corpus(tmp_path / "c.jsonl", ["some text of its own, and more of it"] * 9)
    tokenize_corpus(corpus, tmp_path / "long", tokenizer, 2 * LENGTH)
    other = train_tokenizer([corpus], tmp_path / "t", 270)
    tokenize_corpus(corpus, tmp_path / "other", other, LENGTH)
    names = {"web": tokens["web"], "long": tmp_path / "long", "other": tmp_path / "other"}

    def filled(entry: Any) -> Any:
        if isinstance(entry, str):
            return entry.format(**names)
        return (entry[0].format(**names), *entry[1:])

    with pytest.raises(UserError, match=message):
        batches(MixtureConfig(tuple(map(filled, sources))), 4)


def test_a_batch_must_divide(tokens: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="does not divide among 3 processes"):
        batches(mix(tokens, web=None), 4, process_count=3)


def test_names(tokens: dict[str, Path], tokenizer: Tokenizer, tmp_path: Path) -> None:
    twin = tmp_path / "twin" / "web"
    tokenize_corpus(write_corpus(tmp_path / "c.jsonl", ["text"] * 5), twin, tokenizer, LENGTH)
    sources = ((str(tokens["web"]), None), (str(twin), None))
    names = batches(MixtureConfig(sources), 2).source_names
    assert names[1] == "twin/web" and len(set(names)) == 2
    assert batches(MixtureConfig(sources, names=("a", "b")), 2).source_names == ("a", "b")
    with pytest.raises(UserError, match="2 different names"):
        batches(MixtureConfig(sources, names=("a", "a")), 2)


def test_gin_binds_the_papers_mixture(tokens: dict[str, Path]) -> None:
    """Web : code = 4 : 1 in real tokens, and the synthetic corpus weighted to equal them."""
    from synthdiv import config

    sources = ", ".join(
        f"({str(tokens[n])!r}, {e})" for n, e in (("web", 8e3), ("code", 2e3), ("synthetic", 1e4))
    )
    bound = config.load([MixtureConfig], bindings=[f"Mixture.sources = [{sources}]"])
    plan = batches(bound.get(MixtureConfig), 4).plan()
    shares = {n: p["tokens"] / sum(q["tokens"] for q in plan.values()) for n, p in plan.items()}
    assert shares == pytest.approx({"web": 0.4, "code": 0.1, "synthetic": 0.5}, abs=0.002)
