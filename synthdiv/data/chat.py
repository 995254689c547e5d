"""Turns a conversation into text and tokens, the same for fine-tuning, evaluation and export.

A template is a Jinja file in the form that Hugging Face calls a chat template: it sees `messages`
(dicts of `role` and `content`), `add_generation_prompt`, `bos_token` and `eos_token`. The
end-of-text token is inserted by its id and never read from a message, so that no message can forge
one.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from synthdiv import config
from synthdiv.data.tokenizer import Tokenizer
from synthdiv.errors import UserError

DEFAULT = "configs/prompts/chat.jinja"
ROLES = ("system", "user", "assistant")

# What the template gets as eos_token while we render: private-use characters. They are removed
# from messages, so that an end of text that the template writes differs from one that a user typed.
_END = "\ue0fe\ue0ff"


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """A chat template and the system prompt that a model is tuned and evaluated with.

    A configuration field of this type is bound in gin as `ChatTemplate.path = "..."`.

    Attributes:
        path: the Jinja file; as given, or inside the installed configs.
        system: put before a conversation that has no system message; "" for none.
    """

    path: str = DEFAULT
    system: str = ""

    @cached_property
    def source(self) -> str:
        """The template's text, as an exported tokenizer carries it."""
        return config.find(self.path).read_text(encoding="utf-8")

    @cached_property
    def _template(self) -> Any:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )

        def refuse(message: str) -> None:
            raise UserError(f"chat template {self.path}: {message}")

        environment.globals["raise_exception"] = refuse
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"chat template {self.path} line {error.lineno}: {error}") from None

    def render(
        self,
        messages: Sequence[Mapping[str, str]],
        add_generation_prompt: bool = False,
        eos_token: str = "",
    ) -> str:
        """Returns the conversation as text.

        Args:
            messages: dicts of `role` (system, user or assistant) and `content`.
            add_generation_prompt: end where an assistant's answer begins.
            eos_token: written after each of the assistant's answers.

        Raises:
            UserError: a role that the template does not know.
        """
        import jinja2

        try:
            return self._template.render(
                messages=self._complete(messages),
                add_generation_prompt=add_generation_prompt,
                bos_token="",
                eos_token=eos_token,
            )
        except jinja2.TemplateError as error:
            raise UserError(f"chat template {self.path}: {error}") from None

    def _complete(self, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        clean = [
            {"role": m["role"], "content": m["content"].replace(_END, "").strip()} for m in messages
        ]
        if self.system and not (clean and clean[0]["role"] == "system"):
            clean.insert(0, {"role": "system", "content": self.system})
        return clean

    def pieces(self, messages: Sequence[Mapping[str, str]]) -> list[tuple[str, bool]]:
        """Cuts a conversation into (text, is an answer) pieces, which alternate.

        An answer is what the template adds for an assistant's message after the generation prompt;
        ends of text in it are marked by `_END`.

        Raises:
            UserError: the template writes an answer differently once the conversation continues, so
                the answer cannot be located.
        """
        messages = self._complete(messages)
        cut, pieces = "", []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = self.render(messages[:index], True, _END)
            whole = self.render(messages[: index + 1], False, _END)
            if not (prompt.startswith(cut) and whole.startswith(prompt)):
                raise UserError(
                    f"chat template {self.path}: the text of a turn changes when the next one is "
                    "added, so answers cannot be told from prompts"
                )
            pieces += [(prompt[len(cut) :], False), (whole[len(prompt) :], True)]
            cut = whole
        return pieces

    def encode(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], tokenizer: Tokenizer
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tokenizes conversations.

        Args:
            conversations: lists of messages. What follows the last answer is left out.
            tokenizer: the model's.

        Returns:
            For each conversation (tokens int32 [n + 1], answer bool [n + 1]): end-of-text, then the
            conversation; `answer` marks the tokens that an assistant wrote, the end-of-text that
            closes each answer among them.
        """
        cut = [self.pieces(messages) for messages in conversations]
        texts = [text for pieces in cut for piece, _ in pieces for text in piece.split(_END)]
        encoded = iter(tokenizer.encode_batch(texts))
        end = np.array([tokenizer.eot_id], np.int32)
        result = []
        for pieces in cut:
            tokens, answer = [end], [np.zeros(1, bool)]
            for piece, is_answer in pieces:
                for part in range(piece.count(_END) + 1):
                    ids = np.asarray(next(encoded), np.int32)
                    if part:
                        ids = np.concatenate([end, ids])
                    tokens.append(ids)
                    answer.append(np.full(len(ids), is_answer))
            result.append((np.concatenate(tokens), np.concatenate(answer)))
        return result
