"""Our models behind lm-eval's interface: its model class `synthdiv`.

lm-eval asks for the log likelihood of continuations, the rolling log likelihood of texts, and
generated text. Requests become tokens exactly as in lm-eval's own `hf` model; scoring.py and
generating.py answer them; every answer is kept, so that a killed run can resume.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from synthdiv.data.chat import AUTO, ChatTemplate, encode_rendered
from synthdiv.data.special_tokens import protect
from synthdiv.errors import UserError
from synthdiv.evaluation.answers import AnswerStore, pack_losses, unpack_losses
from synthdiv.evaluation.checkpoint import Checkpoint, load_checkpoint
from synthdiv.evaluation.generating import Prompt, generate
from synthdiv.evaluation.packing import Continuation
from synthdiv.evaluation.processes import from_first, is_first
from synthdiv.evaluation.scoring import Scored, score
from synthdiv.progress import Progress

# Begins a rendered conversation: private-use characters that no question has.
_CONVERSATION = "\ue0fd\ue0fc"
_MAX_NEW_TOKENS = 256  # where a task does not say; the same as in lm-eval's `hf`


@register_model("synthdiv")
class SynthdivLM(TemplateLM):
    """A checkpoint of ours, or a Hugging Face Llama, run in JAX.

    The arguments are what `--model_args` takes on lm-eval's own command line.

    Args:
        checkpoint: its path, or the checkpoint itself if it is loaded already.
        dtype, batch_tokens, max_length, tokenizer: see `load_checkpoint`.
        answers: SQLite file that keeps answers; None keeps none.
        template: of conversations; None, or one whose path is "auto", is the checkpoint's own, or
            the default one. On lm-eval's command line it is the path of a Jinja file.
        prefix_end_of_text: put end-of-text before every context, as training does.
    """

    def __init__(
        self,
        checkpoint: str | Path | Checkpoint,
        dtype: str = "",
        batch_tokens: int = 0,
        max_length: int = 0,
        tokenizer: str | None = None,
        answers: str | Path | None = None,
        template: ChatTemplate | str | None = None,
        prefix_end_of_text: bool = False,
        **unused: Any,  # batch_size and device, which lm-eval's command line always passes
    ) -> None:
        super().__init__()
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = load_checkpoint(
                checkpoint, dtype, int(batch_tokens), int(max_length), tokenizer
            )
        self.checkpoint = checkpoint
        self.model = checkpoint.model
        self.end_of_text = checkpoint.tokenizer.eot_id
        self.prefix_end_of_text = prefix_end_of_text
        if isinstance(template, str):
            template = ChatTemplate(template)
        self.template = _chosen(template or ChatTemplate(), checkpoint.template)
        path = Path(answers) if answers and is_first() else None
        self.store = AnswerStore(path, checkpoint.fingerprint)
        self.truncated: Counter[str] = Counter()  # requests cut on the left, by task
        self.places: dict[str, list[str]] = {}  # by task, where each question was read: "file:line"

    @property
    def eot_token_id(self) -> int:
        return self.end_of_text

    @property
    def prefix_token_id(self) -> int:
        """What stands in for an empty context: beginning of text, or else end-of-text."""
        return self.checkpoint.tokenizer.bos_id

    @property
    def tokenizer_name(self) -> str:
        return self.checkpoint.tokenizer.sha256

    def tok_encode(self, string: str, add_special_tokens: Any = None, **unused: Any) -> list[int]:
        return self._encode([string])[string]

    def chat_template(self, chat_template: bool | str = False) -> str:
        return self.template.source if chat_template else ""

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Returns the conversation as text, marked, so that it is encoded as in fine-tuning."""
        tokenizer = self.checkpoint.tokenizer
        return _CONVERSATION + self.template.render_for(
            tokenizer, chat_history, add_generation_prompt
        )

    def _encode(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Token ids of each distinct text; a conversation begins with end-of-text."""
        unique = list(dict.fromkeys(texts))
        plain = [text for text in unique if not text.startswith(_CONVERSATION)]
        found = dict(zip(plain, self.checkpoint.tokenizer.encode_batch(plain), strict=True))
        talks = [text for text in unique if text.startswith(_CONVERSATION)]
        bare = [text.removeprefix(_CONVERSATION) for text in talks]
        encoded = encode_rendered(bare, self.checkpoint.tokenizer)
        for text, ids in zip(talks, encoded, strict=True):
            found[text] = ids if ids[:1] == [self.end_of_text] else [self.end_of_text, *ids]
        return found

    def _begun(self, tokens: list[int]) -> list[int]:
        """Adds to a context what the tokenizer's file, or `prefix_end_of_text`, puts before it."""
        begins = [*self.checkpoint.tokenizer.begins]
        if self.prefix_end_of_text:
            begins = begins or [self.end_of_text]
        conversation = tokens[:1] == [self.end_of_text]
        return tokens if conversation or not tokens else [*begins, *tokens]

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Returns the log likelihood of each request's continuation, and whether it is greedy."""
        pairs = [self._split(*request.args) for request in requests]
        ids = self._encode(text for c, t in pairs for text in ((c, c + t) if c else (t,)))
        tokens = []
        for (context, continuation), request in zip(pairs, requests, strict=True):
            if context:
                before = ids[context]
                after = ids[context + continuation][len(before) :]
            else:
                before, after = [], ids[continuation]
            before = self._begun(before) or [self.prefix_token_id]
            if not after:
                raise UserError(
                    f"{self._where(request)}: the continuation {continuation!r} has no tokens of "
                    "its own after its context"
                )
            tokens.append((before, after, request))
        return [
            (float(s.log_probabilities.sum(dtype=np.float64)), s.greedy)
            for s in self._score([self._fit(*each) for each in tokens], "scoring")
        ]

    def _split(self, context: str, continuation: str) -> tuple[str, str]:
        if context.startswith(_CONVERSATION):
            continuation = protect(continuation, self.checkpoint.tokenizer.specials)
        return _split_spaces(context, continuation)

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **unused: Any
    ) -> list[tuple[float, bool]]:
        scored = self._score([self._fit(c, t, None) for _, c, t in requests], "scoring")
        return [(float(s.log_probabilities.sum(dtype=np.float64)), s.greedy) for s in scored]

    def _fit(self, before: list[int], after: list[int], request: Any) -> Continuation:
        """Cuts a context that is too long on the left, as lm-eval's `hf` does, and counts it."""
        longest = self.model.max_length
        name = getattr(request, "task_name", None) or "?"
        if len(after) > longest:
            raise UserError(
                f"{self._where(request)}: a continuation of {len(after)} tokens is longer than the "
                f"model's context of {longest}"
            )
        if len(before) + len(after) > longest + 1:
            self.truncated[name] += 1
        kept = np.asarray((before + after)[-(longest + 1) :], np.int32)
        return Continuation(kept[:-1], np.asarray(after, np.int32))

    def _where(self, request: Any) -> str:
        """Names a request's question, by file and line if it comes from a file."""
        task: str = getattr(request, "task_name", "?")
        question: Any = getattr(request, "doc_id", "?")
        place = f"{self.places[task][question]}: " if task in self.places else ""
        return f"{place}task {task}, question {question}"

    def _score(self, continuations: list[Continuation], label: str) -> list[Scored]:
        keys = [
            self.store.key("score", c.inputs.tobytes(), c.targets.tobytes()) for c in continuations
        ]
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        unique = sorted(first.values())
        answers = from_first(self.store.get(keys))
        with Progress(len(unique), label, "continuations") as progress:
            progress.update(len(answers))
            for batch in score(
                self.model,
                [continuations[index] for index in unique],
                lambda index: keys[unique[index]] in answers,
            ):
                new = {keys[unique[index]]: pack_losses(*scored) for index, scored in batch}
                self.store.put(new)
                progress.update(sum(key not in answers for key in new))
                answers.update(new)
        return [Scored(*unpack_losses(answers[key])) for key in keys]

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Returns the log likelihood of each whole text, in windows of the model's context."""
        losses = self.score_texts([request.args[0] for request in requests])
        return [float(sum(w.sum(dtype=np.float64) for w in windows)) for windows in losses]

    def score_texts(self, texts: Sequence[str]) -> list[list[np.ndarray]]:
        """Returns the log probability of each token of each text, by window; every token once.

        The first window begins with `prefix_token_id`. A text longer than the context
        continues in windows without overlap, except that the last is filled up on its left.
        """
        ids = self._encode(texts)
        windows = [
            [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(
                    ids[text], self.prefix_token_id, self.model.max_length, context_len=1
                )
            ]
            for text in texts
        ]
        flat = [self._fit(list(c), list(t), None) for each in windows for c, t in each]
        scored = iter(self._score(flat, "reading"))
        return [[next(scored).log_probabilities for _ in each] for each in windows]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Returns how each context continues, up to a stop sequence or end-of-text."""
        ids = self._encode(request.args[0] for request in requests)
        prompts, stops, keys = [], [], []
        seen: Counter[bytes] = Counter()
        for request in requests:
            context, settings = request.args
            prompt, until = self._prompt(ids[context], settings, request.task_name or "?")
            parts = prompt.tokens.tobytes(), json.dumps([until, prompt.max_new_tokens]).encode()
            # A request repeated for sampling is drawn anew; greedy ones are the same.
            turn = seen[parts[0]] if prompt.temperature else 0
            seen[parts[0]] += 1
            nucleus = f" {prompt.top_p}" if prompt.top_p < 1 else ""
            drawing = f"{prompt.temperature} {turn}{nucleus}"
            key = self.store.key("generate", *parts, drawing.encode())
            prompts.append(dataclasses.replace(prompt, seed=int.from_bytes(key[:4], "little")))
            stops.append(until)
            keys.append(key)
        answers = from_first(self.store.get(keys))
        decode = self.checkpoint.tokenizer.decode

        def stopped(index: int, tokens: np.ndarray) -> bool:
            text = decode(tokens)
            return any(stop and stop in text for stop in stops[index])

        with Progress(len(prompts), "generating", "texts") as progress:
            for batch in generate(
                self.model, prompts, self.end_of_text, stopped, lambda i: keys[i] in answers
            ):
                new = {keys[index]: tokens.astype("<i4").tobytes() for index, tokens in batch}
                self.store.put(new)
                progress.update(sum(key not in answers for key in new))
                answers.update(new)
        texts = [decode(np.frombuffer(answers[key], "<i4")) for key in keys]
        return [
            postprocess_generated_text(text, until, None)
            for text, until in zip(texts, stops, strict=True)
        ]

    def _prompt(
        self, tokens: list[int], settings: dict[str, Any], task: str
    ) -> tuple[Prompt, list[str]]:
        settings = dict(normalize_gen_kwargs(settings, _MAX_NEW_TOKENS))
        until = handle_stop_sequences(settings.pop("until", None), eos=None)
        new = int(settings.pop("max_gen_toks"))
        temperature = float(settings.pop("temperature", 0.0) or 0.0)
        sampled = settings.pop("do_sample", False) and temperature > 0
        top_p = float(settings.pop("top_p", None) or 1.0)
        if not 0 < top_p <= 1:
            raise UserError(f"task {task}: top_p must be above 0 and at most 1, not {top_p}")
        known = {"top_k": 0, "num_beams": 1, "repetition_penalty": 1.0}
        for name, value in settings.items():
            if name not in known or value not in (known[name], None):
                raise UserError(f"task {task}: generation with {name}={value!r} is not supported")
        room = self.model.max_length - new
        if room < 1:
            raise UserError(
                f"task {task} generates {new} tokens, which leaves no room for a prompt in the "
                f"model's context of {self.model.max_length}"
            )
        tokens = self._begun(tokens) or [self.prefix_token_id]
        if len(tokens) > room:
            self.truncated[task] += 1
        kept = np.asarray(tokens[-room:], np.int32)
        if not sampled:
            return Prompt(kept, new), until
        return Prompt(kept, new, temperature, top_p=top_p), until


def _chosen(asked: ChatTemplate, own: ChatTemplate | None) -> ChatTemplate:
    """Returns the template that was asked for, or the checkpoint's own with the system prompt."""
    if asked.path != AUTO or own is None:
        return asked.of_model(None)
    return dataclasses.replace(own, system=asked.system or own.system)


def _split_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Moves spaces at the context's end to the continuation, where tokenizers want them."""
    bare = context.rstrip()
    return (bare, context[len(bare) :] + continuation) if bare else (context, continuation)
