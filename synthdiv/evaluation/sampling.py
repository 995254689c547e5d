"""Text that a checkpoint writes: one prompt, or a file of them, bare or as conversations.

A prompt becomes tokens as lm-eval's `hf` model and `transformers` make them of it: with what the
tokenizer's file puts before every text, and nothing else.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthdiv import files
from synthdiv.config import settle
from synthdiv.data.chat import AUTO, ROLES, ChatTemplate, encode_rendered
from synthdiv.data.tokenizer import Tokenizer
from synthdiv.errors import UserError, closest
from synthdiv.evaluation.answers import AnswerStore
from synthdiv.json_lines import json_lines
from synthdiv.plans import Plan
from synthdiv.progress import Progress
from synthdiv.storage import fetch

if TYPE_CHECKING:
    from synthdiv.evaluation.checkpoint import Checkpoint

Messages = Sequence[Mapping[str, str]]
_CHAT = ("auto", "on", "off")
_USER, _ANSWER = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How to write. Gin name `Sample`.

    Attributes:
        max_new_tokens: written after a prompt at most.
        temperature: 0 takes the likeliest token each time (greedy); above 0, tokens are drawn.
        top_p: draws come from the likeliest tokens whose probabilities reach this sum.
        seed: of the draws. Prompt number i is drawn with the i-th random numbers of it.
        chat: take a prompt for what a user says: "on", "off", or "auto", which is on for a
            checkpoint that has a chat template.
        template: the conversations' template and system prompt; "auto" is the checkpoint's own.
        dtype: of the computation; "" for the checkpoint's own.
        batch_tokens: positions in a batch, over all devices; 0 chooses by the kind of device.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    chat: str = "auto"
    template: ChatTemplate = ChatTemplate()
    dtype: str = ""
    batch_tokens: int = 0

    def __post_init__(self) -> None:
        settle(self)
        if self.max_new_tokens < 1:
            raise UserError(f"Sample.max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if self.temperature < 0:
            raise UserError(f"Sample.temperature must not be negative, as {self.temperature} is")
        if not 0 < self.top_p <= 1:
            raise UserError(f"Sample.top_p must be above 0 and at most 1, not {self.top_p}")
        if self.seed < 0:
            raise UserError(f"Sample.seed must not be negative, as {self.seed} is")
        if self.chat not in _CHAT:
            raise UserError(
                f"Sample.chat={self.chat!r} is not one of {', '.join(_CHAT)}"
                f"{closest(self.chat, _CHAT)}"
            )


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was written after one prompt.

    Attributes:
        text: without the token that ended it.
        tokens: how many tokens it has.
        ended: the model ended it; otherwise it was cut at `max_new_tokens`.
    """

    text: str
    tokens: int
    ended: bool


def sample(
    checkpoint: "str | Path | Checkpoint",
    prompts: Sequence[str | Messages],
    config: SampleConfig | None = None,
    tokenizer: str | Path | None = None,
    answers: str | Path | None = None,
) -> list[Sample]:
    """Writes on from prompts.

    Args:
        checkpoint: one of ours, a workdir (its newest), or a Hugging Face Llama.
        prompts: texts, or conversations as lists of messages (`role`, `content`).
        config: how.
        tokenizer: for a checkpoint that has none.
        answers: SQLite file that keeps what was written, so that a killed call goes on; None: none.

    Returns:
        what was written after each prompt.

    Raises:
        UserError: no checkpoint or tokenizer, a conversation that the template refuses, or a prompt
            that leaves no room for `max_new_tokens` in the model's context; names it by number.
    """
    from synthdiv.evaluation.checkpoint import Checkpoint, load_checkpoint
    from synthdiv.evaluation.generating import Prompt, generate

    config = config or SampleConfig()
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(
            checkpoint, config.dtype, config.batch_tokens, tokenizer=tokenizer
        )
    own, model = checkpoint.tokenizer, checkpoint.model
    template, chats = _template(config, checkpoint.template)
    encoded = _encode(prompts, own, template, chats, config.max_new_tokens, model.max_length)
    end = _end_of_answer(template, own) if chats or not all(map(_is_text, prompts)) else own.eot_id
    store = AnswerStore(Path(answers) if answers else None, checkpoint.fingerprint)
    settings = [config.max_new_tokens, config.temperature, config.top_p, end]
    seeds = [_seed(config, number) for number in range(len(prompts))]
    keys = [
        store.key("sample", tokens.tobytes(), json.dumps([*settings, seed]).encode())
        for tokens, seed in zip(encoded, seeds, strict=True)
    ]
    asked = [
        Prompt(tokens, config.max_new_tokens, config.temperature, seed, config.top_p)
        for tokens, seed in zip(encoded, seeds, strict=True)
    ]
    written = store.get(keys)
    try:
        with Progress(len(asked), "writing", "texts") as progress:
            progress.update(sum(key in written for key in keys))
            for batch in generate(
                model,
                asked,
                own.eot_id,
                lambda index, tokens: end in tokens,
                lambda index: keys[index] in written,
            ):
                new = {keys[i]: tokens.astype("<i4").tobytes() for i, tokens in batch}
                progress.update(sum(keys[i] not in written for i, _ in batch))
                store.put(new)
                written.update(new)
    finally:
        store.close()
    return [_sample(np.frombuffer(written[key], "<i4"), end, own, config) for key in keys]


def _sample(tokens: np.ndarray, end: int, tokenizer: Tokenizer, config: SampleConfig) -> Sample:
    ends = np.flatnonzero(tokens == end)
    tokens = tokens[: ends[0]] if len(ends) else tokens
    ended = len(ends) > 0 or len(tokens) < config.max_new_tokens
    return Sample(tokenizer.decode(tokens), len(tokens), ended)


def _seed(config: SampleConfig, number: int) -> int:
    if not config.temperature:
        return 0
    digest = hashlib.sha256(f"{config.seed} {number}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _is_text(prompt: str | Messages) -> bool:
    return isinstance(prompt, str)


def _template(config: SampleConfig, own: ChatTemplate | None) -> tuple[ChatTemplate, bool]:
    """Returns the conversations' template, and whether bare prompts are said by a user."""
    asked = config.template
    if asked.path != AUTO or own is None:
        chosen = asked.of_model(None)
    else:
        chosen = dataclasses.replace(own, system=asked.system or own.system)
    return chosen, config.chat == "on" or (config.chat == "auto" and own is not None)


def _encode(
    prompts: Sequence[str | Messages],
    tokenizer: Tokenizer,
    template: ChatTemplate,
    chats: bool,
    new: int,
    longest: int,
) -> list[np.ndarray]:
    said = [
        [_USER | {"content": prompt}] if isinstance(prompt, str) and chats else prompt
        for prompt in prompts
    ]
    bare = iter(tokenizer.encode_batch([each for each in said if isinstance(each, str)]))
    talks = [template.render_for(tokenizer, m, True) for m in said if not isinstance(m, str)]
    rendered = iter(encode_rendered(talks, tokenizer))
    found = []
    for number, each in enumerate(said, 1):
        if isinstance(each, str):
            tokens = [*tokenizer.begins, *next(bare)] or [tokenizer.bos_id]
        else:
            tokens = next(rendered)
            tokens = tokens if tokens[:1] == [tokenizer.eot_id] else [tokenizer.eot_id, *tokens]
        if len(tokens) + new > longest:
            raise UserError(
                f"prompt {number} has {len(tokens):,} tokens, which with max_new_tokens={new} is "
                f"more than the context of {longest:,}"
            )
        found.append(np.asarray(tokens, np.int32))
    return found


def _end_of_answer(template: ChatTemplate, tokenizer: Tokenizer) -> int:
    """Returns the special token that the template ends an answer with, or end-of-text."""
    text = template.pieces([_USER, _ANSWER], tokenizer)[-1][0].partition(_ANSWER["content"])[2]
    first = next(iter(encode_rendered([text], tokenizer)[0]), tokenizer.eot_id)
    return first if first in tokenizer.specials.values() else tokenizer.eot_id


def read_prompts(file: str | Path) -> list[dict[str, Any]]:
    """Reads JSON lines, each with a `prompt` (text) or `messages` (a conversation).

    Raises:
        UserError: the file or one of its lines is not like that; names the line.
    """
    rows = []
    for line, row in json_lines(fetch(file)):
        given = [name for name in ("prompt", "messages") if name in row]
        if len(given) != 1:
            raise UserError(f"{file} line {line} has not one of `prompt` and `messages`")
        if "prompt" in row and not isinstance(row["prompt"], str):
            raise UserError(f"{file} line {line}: its prompt is no text")
        if "messages" in row and not _is_conversation(row["messages"]):
            raise UserError(
                f"{file} line {line}: its messages are no list of objects with a `role` "
                f"({', '.join(ROLES)}) and a `content`"
            )
        rows.append(row)
    if not rows:
        raise UserError(f"{file} is empty")
    return rows


def _is_conversation(messages: Any) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(
            isinstance(m, dict) and m.get("role") in ROLES and isinstance(m.get("content"), str)
            for m in messages
        )
    )


def sample_file(
    checkpoint: str | Path,
    input: str | Path,
    output: str | Path,
    config: SampleConfig | None = None,
    tokenizer: str | Path | None = None,
) -> Path:
    """Writes on from every line of a file; see `read_prompts` and `sample`.

    `OUTPUT.answers.sqlite` beside the output keeps what was written, so that a killed call goes on.

    Returns:
        `output`: the lines of `input` in their order, each with `completion`, `tokens` and `ended`.
    """
    output = files.check_file(output)
    rows = read_prompts(input)
    files.output_dir(output.parent)
    answers = output.with_name(output.name + ".answers.sqlite")
    prompts = [row["prompt"] if "prompt" in row else row["messages"] for row in rows]
    written = sample(checkpoint, prompts, config, tokenizer, answers)
    lines = (
        row | {"completion": each.text, "tokens": each.tokens, "ended": each.ended}
        for row, each in zip(rows, written, strict=True)
    )
    files.write_text(output, "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
    return output


def plan_sample(
    checkpoint: str | Path,
    prompts: Sequence[str | Messages],
    config: SampleConfig | None = None,
    tokenizer: str | Path | None = None,
) -> Plan:
    """Returns what `sample` would do; runs no model and writes nothing.

    Raises:
        UserError: what `sample` would refuse before it runs the model.
    """
    from synthdiv.evaluation.checkpoint import template_of, tokenizer_of
    from synthdiv.model.weights import describe, find_checkpoint

    config = config or SampleConfig()
    found = find_checkpoint(checkpoint)
    model, own = describe(found)
    loaded = tokenizer_of(found, tokenizer or own)
    template, chats = _template(config, template_of(found, own)[0])
    encoded = _encode(prompts, loaded, template, chats, config.max_new_tokens, model.max_length)
    new = config.max_new_tokens * len(encoded)
    facts = {
        "checkpoint": f"{found}: {model.parameters:,} parameters",
        "prompts": f"{len(encoded):,}, {sum(map(len, encoded)):,} tokens"
        + (f", in conversation ({template.path})" if chats else ""),
        "writes": f"{new:,} tokens at most",
    }
    return Plan(facts, {"prompts": len(encoded), "new_tokens": new})
