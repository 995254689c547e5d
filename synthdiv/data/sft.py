"""Instruction data: files of several formats to conversations, conversations to packed batches.

The loss counts what the assistant wrote, in every turn, and nothing else. Conversations are
packed whole, several to a sequence, each a segment of its own.
"""

import collections
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.corpora import formats, sources
from synthdiv.corpora.names import tell_apart
from synthdiv.data.chat import ChatTemplate
from synthdiv.data.mixture import Batches
from synthdiv.data.packing import Sequences
from synthdiv.data.tokenizer import Tokenizer
from synthdiv.errors import UserError, closest
from synthdiv.progress import say

Messages = list[dict[str, str]]

# ShareGPT and its relatives have many names for the two sides.
_SPEAKERS = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
}


def _first(row: Mapping[str, Any], *names: str) -> str:
    return _first_answer(row, *names).strip()


def _first_answer(row: Mapping[str, Any], *names: str) -> str:
    """The first text that is there, with the spaces that it begins with: it may be code."""
    texts = (row[n].rstrip() for n in names if isinstance(row.get(n), str))
    return next(filter(None, texts), "")


def _asked(prompt: str, answer: str, system: str = "") -> Messages:
    if not (prompt and answer):
        return []
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _alpaca(row: Mapping[str, Any]) -> Messages:
    parts = (_first(row, "instruction"), _first(row, "input", "context"))
    answer = _first_answer(row, "output", "response", "completion")
    return _asked("\n\n".join(filter(None, parts)), answer, _first(row, "system"))


def _flan(row: Mapping[str, Any]) -> Messages:
    answer = _first_answer(row, "answer", "targets", "target", "completion")
    reasoning = _first(row, "cot", "rationale", "explanation")
    if reasoning and answer:
        answer = f"{reasoning}\nThe answer is {answer.strip().rstrip('.')}."
    return _asked(_first(row, "question", "inputs", "input", "prompt"), answer)


def _turns(turns: Any, role_key: str, text_key: str) -> Messages:
    """A conversation, or [] where it has an unknown speaker or no answer."""
    messages: Messages = []
    for turn in turns if isinstance(turns, list) else ():
        role = _SPEAKERS.get(str(turn.get(role_key)).lower())
        text = turn.get(text_key)
        if role is None or not isinstance(text, str):
            return []
        if not text.strip():
            break  # a turn without words: what follows has lost its context
        content = text.rstrip() if role == "assistant" else text.strip()
        messages.append({"role": role, "content": content})
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    return messages


def _sharegpt(row: Mapping[str, Any]) -> Messages:
    messages = _turns(row["conversations"], "from", "value")
    system = _first(row, "system")
    if system and messages and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return messages


FORMATS: dict[str, Callable[[Mapping[str, Any]], Messages]] = {
    "messages": lambda row: _turns(row["messages"], "role", "content"),
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "flan": _flan,
}


def _recognize(row: Mapping[str, Any], path: Path) -> str:
    if isinstance(row.get("messages"), list):
        return "messages"
    if isinstance(row.get("conversations"), list):
        return "sharegpt"
    if "instruction" in row and {"output", "response", "completion"} & set(row):
        return "alpaca"
    if {"question", "inputs", "prompt", "input"} & set(row) and (
        {"answer", "targets", "target", "completion"} & set(row)
    ):
        return "flan"
    raise UserError(
        f"{str(path)!r} is of no known instruction format: it has {', '.join(map(repr, row))}; "
        "known are messages, conversations (ShareGPT), instruction with output or response "
        "(Alpaca), and question with answer or inputs with targets (FLAN)"
    )


def sft_examples(
    path: str | Path, format: str = "auto", skipped: "collections.Counter[str] | None" = None
) -> Iterator[Messages]:
    """Yields the conversations of an instruction file, or of a directory of such files.

    Args:
        path: .json, .jsonl (or .gz, .zst of them), .parquet or .arrow.
        format: one of FORMATS, or "auto", which goes by the first row's columns.
        skipped: counts the rows left out: those without a question or an answer, or with a speaker
            that is neither the user, the system nor the assistant.

    Yields:
        Messages (`role`, `content`) that end with an assistant's.

    Raises:
        UserError: nothing there, an unknown format, or no conversation in the file.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"no instruction data {str(path)!r}")
    if format != "auto" and format not in FORMATS:
        known = ", ".join(["auto", *FORMATS])
        raise UserError(f"no format {format!r}{closest(format, FORMATS)}; known: {known}")
    found = False
    for shard in sources.find_shards(path):
        chosen = format
        for _, row in formats.numbered_rows(shard):
            if chosen == "auto":
                chosen = _recognize(row, shard)
            try:
                messages = FORMATS[chosen](row)
            except (KeyError, AttributeError):
                raise UserError(
                    f"{str(shard)!r} has a row that is not of format {chosen!r}: "
                    f"it has {', '.join(map(repr, row))}"
                ) from None
            if messages:
                found = True
                yield messages
            elif skipped is not None:
                skipped["no question or answer"] += 1
    if not found:
        raise UserError(f"{str(path)!r} has no question with an answer")


@dataclasses.dataclass
class PackedExamples:
    """The packed conversations of one file; a source of `Batches`.

    Attributes:
        sequences: with `answer`.
        conversations: how many are in them.
        cut: how many of those were longer than a sequence and were truncated.
        dropped: how many had no answer within the length of a sequence.
    """

    sequences: Sequences
    sequence_length: int
    conversations: int
    cut: int
    dropped: int

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def content(self) -> str:
        """The SHA-256 of the packed tokens."""
        return hashlib.sha256(self.sequences.tokens.tobytes()).hexdigest()

    @property
    def tokens(self) -> int:
        return int(self.sequences.targets.sum())

    @property
    def max_segments(self) -> int:
        return self.sequences.max_segments

    def read(self, indices: np.ndarray) -> Sequences:
        return self.sequences[indices]


def pack_examples(
    encoded: Sequence[tuple[np.ndarray, np.ndarray]],
    sequence_length: int,
    eot_id: int,
    seed: int = 0,
) -> PackedExamples:
    """Packs encoded conversations (ChatTemplate.encode) into sequences, none split in two.

    Best fit in an order shuffled by `seed`: each goes where it leaves the least room.
    """
    usable, cut, dropped = [], 0, 0
    for tokens, answer in encoded:
        if tokens[-1] != eot_id:  # the template leaves the answer open: end it, outside the loss
            tokens, answer = np.append(tokens, eot_id), np.append(answer, False)
        too_long = len(tokens) - 1 > sequence_length
        tokens, answer = tokens[: sequence_length + 1], answer[: sequence_length + 1]
        if answer[1:].any():
            usable.append((tokens, answer))
            cut += too_long
        else:
            dropped += 1
    order = np.random.default_rng(seed).permutation(len(usable))
    rows = _best_fit([len(usable[i][0]) - 1 for i in order], sequence_length)
    tokens = np.zeros((len(rows), sequence_length + 1), np.int32)
    starts = np.zeros((len(rows), sequence_length), bool)
    answers = np.zeros((len(rows), sequence_length), bool)
    targets = np.zeros(len(rows), np.uint32)
    for row, members in enumerate(rows):
        at = 0
        for member in members:
            ids, answer = usable[order[member]]
            # The end-of-text that is this one's last target is also the next one's first input.
            end = at + len(ids) - 1
            tokens[row, at : end + 1] = ids
            starts[row, at] = True
            answers[row, at:end] = answer[1:]
            at = end
        targets[row] = at
    sequences = Sequences(tokens, starts, targets, np.zeros(len(rows), np.uint32), answers)
    return PackedExamples(sequences, sequence_length, len(usable), cut, dropped)


def _best_fit(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Returns bins of indices into `sizes`, none above `room`; each goes to the fullest it fits."""
    bins: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(room + 1)]  # bins by the room left in them
    open_rooms = 0  # bit r is set where by_room[r] is not empty
    for index, size in enumerate(sizes):
        fitting = open_rooms >> size
        if fitting:
            left = size + (fitting & -fitting).bit_length() - 1
            chosen = by_room[left].pop()
            if not by_room[left]:
                open_rooms &= ~(1 << left)
        else:
            left, chosen = room, len(bins)
            bins.append([])
        bins[chosen].append(index)
        by_room[left - size].append(chosen)
        open_rooms |= 1 << (left - size)
    return bins


def sft_batches(
    inputs: Sequence[str | Path],
    tokenizer: Tokenizer,
    tokenizer_dir: str | Path,
    sequence_length: int,
    batch_size: int,
    *,
    template: ChatTemplate = ChatTemplate(),  # noqa: B008  frozen
    format: str = "auto",
    epochs: int = 0,
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """Opens instruction data: every conversation once an epoch, shuffled anew for each.

    Args:
        inputs: files or directories, see `sft_examples`; each is a source of the batches.
        tokenizer: the model's.
        tokenizer_dir: where its files are.
        sequence_length: conversations are packed up to it; a longer one is truncated.
        batch_size: sequences in the global batch.
        template: how a conversation is written out.
        format: of the inputs.
        epochs: how many of them count: the sequences that fill the last batch have no loss. 0: all.
        seed: of packing and order.
        process_index, process_count: which part of each global batch is this process's.

    Returns:
        Batches whose `steps` are `epochs`, or one.

    Raises:
        UserError: an input that cannot be read, or none of whose answers fits.
    """
    if not inputs:
        raise UserError("no instruction data: give `inputs`")
    packed, digest = [], hashlib.sha256(template.source.encode() + template.system.encode())
    for path in inputs:
        skipped: collections.Counter[str] = collections.Counter()
        encoded = []
        examples = sft_examples(path, format, skipped)
        while group := list(itertools.islice(examples, 1000)):
            digest.update(json.dumps(group).encode())
            encoded += template.encode(group, tokenizer)
        examples_packed = pack_examples(encoded, sequence_length, tokenizer.eot_id, seed)
        if not len(examples_packed):
            raise UserError(
                f"{str(path)!r}: no answer begins within {sequence_length} tokens: take a longer "
                "sequence length"
            )
        _tell(path, examples_packed, skipped)
        packed.append(examples_packed)
    return Batches(
        packed,
        _source_names(inputs),
        [len(p) for p in packed],
        batch_size,
        seed=seed,
        tokenizer={
            "vocab_size": tokenizer.vocab_size,
            "eot_id": tokenizer.eot_id,
            "tokenizer_sha256": tokenizer.sha256,
            "tokenizer_dir": tokenizer_dir,
        },
        process_index=process_index,
        process_count=process_count,
        identity=f"{digest.hexdigest()}/{sequence_length}",
        passes=epochs,
    )


def _tell(path: str | Path, packed: PackedExamples, skipped: Mapping[str, int]) -> None:
    words = [f"{path}: {packed.conversations:,} conversations in {len(packed):,} sequences"]
    words += [f"{packed.cut:,} cut at the sequence's end"] * bool(packed.cut)
    words += [f"{packed.dropped:,} left out, whose answer begins after it"] * bool(packed.dropped)
    words += [f"{n:,} left out, {why}" for why, n in skipped.items()]
    say("; ".join(words))


def _source_names(inputs: Sequence[str | Path]) -> list[str]:
    paths = [Path(path).resolve() for path in inputs]
    names = tell_apart([path.with_name(path.name.split(".")[0]) for path in paths])
    return names if len(set(names)) == len(names) else tell_apart(paths)
