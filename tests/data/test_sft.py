"""Instruction files of every format, packed whole, with the loss on the answers."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthdiv.data import ChatTemplate, Tokenizer, sft_batches, sft_examples
from synthdiv.data.sft import pack_examples
from synthdiv.errors import UserError


def one(question: str = "Q", answer: str = "A") -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


FORMATS: dict[str, tuple[dict[str, Any], list[dict[str, str]]]] = {
    "alpaca": ({"instruction": "Q", "input": "", "output": "A"}, one()),
    "alpaca input": ({"instruction": "Q", "input": "on x", "output": "A"}, one("Q\n\non x")),
    "alpaca response": ({"instruction": "Q", "input": None, "response": "A"}, one()),
    "dolly": (
        {"instruction": "Q", "context": "C", "response": "A", "category": "k"},
        one("Q\n\nC"),
    ),
    "flan": ({"inputs": "Q", "targets": "A"}, one()),
    "flan cot": (
        {"question": "Q", "answer": "7", "cot": "As 3 + 4."},
        one(answer="As 3 + 4.\nThe answer is 7."),
    ),
    "prompt": ({"prompt": "Q", "completion": "A"}, one()),
    "messages": ({"messages": one()}, one()),
    "sharegpt": (
        {
            "conversations": [
                {"from": "human", "value": "Q"},
                {"from": "gpt", "value": "A"},
                {"from": "human", "value": "more"},
            ]
        },
        one(),
    ),
    "sharegpt system": (
        {
            "system": "S",
            "conversations": [{"from": "user", "value": "Q"}, {"from": "chatgpt", "value": "A"}],
        },
        [{"role": "system", "content": "S"}, *one()],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".jsonl.gz", ".parquet"])
def test_formats_are_told_apart(name: str, ending: str, tmp_path: Path) -> None:
    row, messages = FORMATS[name]
    path = tmp_path / f"file{ending}"
    if ending == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([row, row]), path)
    else:
        text = json.dumps([row, row]) if ending == ".json" else f"{json.dumps(row)}\n" * 2
        path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    assert list(sft_examples(path)) == [messages, messages]


def test_rows_without_an_answer_are_counted(tmp_path: Path) -> None:
    rows = [
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"conversations": [{"from": "human", "value": "Q"}]},
        {"conversations": [{"from": "alien", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"conversations": []},
    ]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(rows))
    skipped: Counter[str] = Counter()
    assert list(sft_examples(path, skipped=skipped)) == [one()]
    assert sum(skipped.values()) == 3


def test_refusals(tmp_path: Path) -> None:
    def written(row: dict[str, Any]) -> Path:
        path = tmp_path / "x.jsonl"
        path.write_text(json.dumps(row))
        return path

    with pytest.raises(UserError, match="no instruction data"):
        list(sft_examples(tmp_path / "absent.jsonl"))
    with pytest.raises(UserError, match="of no known instruction format: it has 'text'"):
        list(sft_examples(written({"text": "x"})))
    with pytest.raises(UserError, match="no question with an answer"):
        list(sft_examples(written({"instruction": "Q", "output": ""})))
    with pytest.raises(UserError, match="did you mean 'alpaca'"):
        list(sft_examples(written({"instruction": "Q", "output": "A"}), "alpacka"))
    with pytest.raises(UserError, match="not of format 'messages'"):
        list(sft_examples(written({"instruction": "Q", "output": "A"}), "messages"))


def _encoded(seed: int, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        size = int(draw.integers(2, 30))
        tokens = np.concatenate([[0], draw.integers(1, 99, size), [0]]).astype(np.int32)
        answer = np.arange(size + 2) > draw.integers(0, size)
        found.append((tokens, answer))
    return found


def test_packing_keeps_each_conversation_whole_and_masked() -> None:
    encoded = _encoded(0, 200)
    packed = pack_examples(encoded, 32, eot_id=0, seed=4)
    batch = packed.sequences.batch(np.zeros(len(packed)))
    found = []
    for row in range(len(packed)):
        for segment in range(1, batch["segment_ids"][row].max() + 1):
            at = batch["segment_ids"][row] == segment
            assert np.array_equal(batch["positions"][row][at], np.arange(at.sum()))
            tokens = np.append(batch["tokens"][row][at][:1], batch["targets"][row][at])
            assert np.array_equal(batch["tokens"][row][at][1:], batch["targets"][row][at][:-1])
            found.append((tuple(tokens), tuple(batch["loss_mask"][row][at] > 0)))
    assert Counter(found) == Counter((tuple(t), tuple(a[1:])) for t, a in encoded)
    used = sum(len(t) - 1 for t, _ in encoded)
    assert len(packed) * 32 < 1.1 * used, "best fit should leave little empty"
    assert (packed.cut, packed.dropped, packed.conversations) == (0, 0, 200)


def test_long_conversations_are_cut_or_dropped_and_counted() -> None:
    late = (np.arange(1, 40, dtype=np.int32), np.arange(39) > 30)
    early = (np.arange(1, 40, dtype=np.int32), np.arange(39) > 3)
    open_ended = (np.array([0, 5, 6], np.int32), np.array([False, False, True]))
    packed = pack_examples([late, early, open_ended], 16, eot_id=0)
    assert (packed.cut, packed.dropped, packed.conversations) == (1, 1, 2)
    batch = packed.sequences.batch(np.zeros(len(packed)))
    assert batch["loss_mask"].sum() == 13 + 1  # the end put to the open one is outside the loss


def test_batches(tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    paths = []
    for name, row in (("a", FORMATS["alpaca"][0]), ("b", FORMATS["sharegpt"][0])):
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text(f"{json.dumps(row)}\n" * 40)

    def opened(**changes: Any) -> Any:
        settings = {"seed": 1} | changes
        return sft_batches(paths, tokenizer, tmp_path, 64, 4, **settings)

    data = opened()
    assert "40 conversations" in capsys.readouterr().err
    assert data.source_names == ("a", "b") and data.tokenizer_sha256 == tokenizer.sha256
    epoch = [next(data) for _ in range(data.steps)]
    answers = sum(b["loss_mask"].sum() for b in epoch)
    expected = 80 * (1 + len(tokenizer.encode_batch(["A"])[0]))
    assert expected <= answers <= expected * (data.steps * 4 / data.total_sequences)
    # The position survives, and belongs to this data and template alone.
    again = opened()
    again.set_state(data.get_state())
    assert np.array_equal(next(again)["tokens"], next(data)["tokens"])
    for other in (opened(seed=2), opened(template=ChatTemplate(system="S"))):
        with pytest.raises(UserError, match="another data mixture"):
            other.set_state(data.get_state())
    with pytest.raises(UserError, match="longer sequence length"):
        sft_batches(paths, tokenizer, tmp_path, 8, 4)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Write it.", "output": "    return 4\n"},
        {"question": "Write it.", "answer": "    return 4\n"},
        {
            "messages": [
                {"role": "user", "content": " Write it."},
                {"role": "assistant", "content": "    return 4\n"},
            ]
        },
        {
            "conversations": [
                {"from": "human", "value": "Write it.\n"},
                {"from": "gpt", "value": "    return 4\n"},
            ]
        },
    ],
    ids=["alpaca", "flan", "messages", "sharegpt"],
)
def test_an_answer_keeps_the_spaces_that_it_begins_with(tmp_path: Path, row: dict) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    [messages] = sft_examples(tmp_path / "a.jsonl")
    assert [m["content"] for m in messages] == ["Write it.", "    return 4"]


@pytest.mark.parametrize(("batch_size", "processes"), [(64, 1), (8, 1), (8, 2), (20, 1)])
def test_epochs_are_exact(
    tokenizer: Tokenizer, tmp_path: Path, batch_size: int, processes: int
) -> None:
    """Also of fewer sequences than a batch; the rows that fill up the last batch have no loss."""
    path = tmp_path / "a.jsonl"
    row = FORMATS["alpaca"][0]
    rows = (row | {"output": "A " + "B " * (i % 9)} for i in range(20))
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))

    def tokens(epochs: int, index: int = 0, count: int = 1) -> tuple[float, int, Any]:
        data = sft_batches(
            [path],
            tokenizer,
            tmp_path,
            64,
            batch_size,
            epochs=epochs,
            process_index=index,
            process_count=count,
        )
        return (
            sum(float(next(data)["loss_mask"].sum()) for _ in range(data.steps)),
            data.steps,
            data,
        )

    once = ChatTemplate().encode(list(sft_examples(path)), tokenizer)
    expected = sum(int(answer[1:].sum()) for _, answer in once)
    counted = [tokens(3, index, processes) for index in range(processes)]
    assert sum(seen for seen, _, _ in counted) == 3 * expected
    for _, steps, data in counted:
        assert steps == -(-3 * data.total_sequences // batch_size)
        assert data.contributed()["a"]["epochs"] == 3 == data.plan()["a"]["epochs"]


def test_real_instruction_files(shared_data: Path, tokenizer: Tokenizer) -> None:
    for name in ("alpaca_gpt4_999", "dolly_3k", "flan2022_cot", "gpteacher_roleplay"):
        examples = list(sft_examples(shared_data / "sft" / f"{name}.jsonl.gz"))
        assert len(examples) > 900, name
        assert all(m[-1]["role"] == "assistant" and m[-1]["content"] for m in examples)
    encoded = ChatTemplate().encode(examples[:300], tokenizer)
    packed = pack_examples(encoded, 1024, tokenizer.eot_id)
    assert packed.sequences.answer.sum() > 10_000
