"""Packing loses nothing, doubles nothing, and lets no target lie in another document."""

import numpy as np
import pytest

from synthdiv.data.packing import (
    Sequences,
    StreamPacker,
    decode_records,
    encode_records,
    token_dtype,
)

EOT = 9


def random_documents(seed: int, number: int) -> list[np.ndarray]:
    """Documents of one to 40 tokens; end-of-text is among the ids that none of them has."""
    draw = np.random.default_rng(seed)
    return [draw.integers(10, 500, draw.integers(1, 40)) for _ in range(number)]


def pack(documents: list[np.ndarray], length: int, group: int) -> Sequences:
    packer = StreamPacker(length, EOT, token_dtype(500))
    parts = []
    for begin in range(0, len(documents), group):
        some = documents[begin : begin + group]
        lengths = np.array([len(d) for d in some])
        parts.append(packer.add(np.concatenate(some), lengths, 3 * lengths + 1))
    parts.append(packer.finish())
    return Sequences.concatenate([p for p in parts if p is not None])


def unpack(batch: dict[str, np.ndarray], starts: np.ndarray) -> list[list[int]]:
    """The documents as the model sees them: what is predicted, cut where documents begin."""
    documents: list[list[int]] = []
    real = batch["loss_mask"] > 0
    for row in range(len(starts)):
        for at in np.flatnonzero(real[row]):
            if starts[row, at]:
                documents.append([])
            documents[-1].append(int(batch["targets"][row, at]))
    return documents


@pytest.mark.parametrize("length", [2, 7, 16, 100])
def test_every_token_is_predicted_once(length: int) -> None:
    documents = random_documents(length, 60)
    sequences = pack(documents, length, group=7)
    batch = sequences.batch(np.zeros(len(sequences)))
    assert unpack(batch, sequences.starts) == [[*d.tolist(), EOT] for d in documents]
    # Each input is the target before it, or the end-of-text that begins a document.
    inputs = batch["tokens"][batch["loss_mask"] > 0]
    assert np.array_equal(inputs, [t for d in documents for t in (EOT, *d)])


@pytest.mark.parametrize("length", [2, 7, 16, 100, 5000])
def test_max_segments_are_those_of_the_fullest_batch_row(length: int) -> None:
    sequences = pack(random_documents(length, 60), length, group=60)
    segments = sequences.batch(np.zeros(len(sequences)))["segment_ids"]
    assert sequences.max_segments == max(len(np.unique(row)) for row in segments)


@pytest.mark.parametrize("group", [1, 3, 60])
def test_grouping_changes_nothing(group: int) -> None:
    documents = random_documents(1, 60)
    expected, found = pack(documents, 16, 10), pack(documents, 16, group)
    for name in ("tokens", "starts", "targets", "bytes"):
        assert np.array_equal(getattr(expected, name), getattr(found, name)), name


def test_segments_and_positions_follow_documents() -> None:
    documents = random_documents(2, 40)
    sequences = pack(documents, 32, 10)
    batch = sequences.batch(np.full(len(sequences), 5))
    for row in range(len(sequences)):
        number, position = 0, 0
        for at in range(32):
            if at >= sequences.targets[row]:
                assert batch["segment_ids"][row, at] == batch["positions"][row, at] == 0
                assert batch["tokens"][row, at] == batch["targets"][row, at] == 0
                assert batch["loss_mask"][row, at] == 0
                continue
            if at == 0 or sequences.starts[row, at]:
                number, position = number + 1, 0
            assert batch["segment_ids"][row, at] == number
            assert batch["positions"][row, at] == position
            position += 1
            # The target is in the same segment, or it is the end-of-text that ends it.
            if at + 1 < sequences.targets[row]:
                same = batch["segment_ids"][row, at + 1] in (number, number + 1)
                assert same and batch["targets"][row, at] == batch["tokens"][row, at + 1]
    assert (batch["source"] == 5).all()


def test_only_the_last_sequence_is_padded_and_only_where_it_must_be() -> None:
    packed = pack(
        [np.arange(10, 17)] * 4, 8, 4
    )  # 4 documents of 7 + end-of-text: 4 whole sequences
    assert packed.targets.tolist() == [8, 8, 8, 8]
    packed = pack([np.arange(10, 17)] * 4 + [np.array([11])], 8, 5)
    assert packed.targets.tolist() == [8, 8, 8, 8, 2]
    assert packed.tokens[-1].tolist() == [EOT, 11, EOT, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("length", [5, 16, 64])
def test_bytes_are_dealt_out_exactly(length: int) -> None:
    documents = random_documents(3, 50)
    sequences = pack(documents, length, 9)
    assert sequences.bytes.sum() == sum(3 * len(d) + 1 for d in documents)
    # A document's part has its share: 3 bytes a token, and one more by the document's last token.
    predicted = (np.arange(length) < sequences.targets[:, None]) & (sequences.tokens[:, 1:] != EOT)
    ends = (sequences.tokens[:, 1:] == EOT).sum(1)
    extra = sequences.bytes.astype(int) - 3 * predicted.sum(1)
    assert (extra >= 0).all() and (extra <= ends + 1).all()


@pytest.mark.parametrize(("vocabulary", "width"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
@pytest.mark.parametrize("length", [3, 8, 21])
def test_records_hold_what_was_put_in(vocabulary: int, width: int, length: int) -> None:
    draw = np.random.default_rng(0)
    dtype = token_dtype(vocabulary)
    assert dtype.itemsize == width
    written = Sequences(
        draw.integers(0, vocabulary, (6, length + 1)).astype(dtype),
        draw.random((6, length)) < 0.3,
        draw.integers(1, length + 1, 6).astype(np.uint32),
        draw.integers(0, 1 << 31, 6).astype(np.uint32),
    )
    records = encode_records(written, dtype)
    assert {len(r) for r in records} == {8 + -(-length // 8) + width * (length + 1)}
    found = decode_records(records, length, dtype)
    for name in ("tokens", "starts", "targets", "bytes"):
        assert np.array_equal(getattr(written, name), getattr(found, name)), name
