"""Turns a conversation into text and tokens, the same for fine-tuning, evaluation and export.

A template is a Jinja file in the form that Hugging Face calls a chat template: it sees `messages`
(dicts of `role` and `content`), `add_generation_prompt`, `bos_token` and `eos_token`. Special
tokens that the template writes are encoded as such; those that are typed in a message are encoded
as the text that they are, so that no message can forge one.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv import config
from synthdiv.config import PathName, settle
from synthdiv.data.special_tokens import is_protected, protect, runs, unprotect
from synthdiv.data.tokenizer import CONFIG_FILE, Tokenizer
from synthdiv.errors import UserError, first_line
from synthdiv.files import read_json

DEFAULT = "configs/prompts/chat.jinja"
AUTO = "auto"
TEMPLATE_FILE = "chat_template.jinja"
ROLES = ("system", "user", "assistant")


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """A chat template and the system prompt that a model is tuned and evaluated with.

    A configuration field of this type is bound in gin as `ChatTemplate.path = "..."`.

    Attributes:
        path: the Jinja file; as given, or inside the installed configs. "auto" is the model's own
            template, or configs/prompts/chat.jinja for a model that has none.
        system: put before a conversation that has no system message; "" for none.
        text: the template itself, if it is not that of a file; `path` then says where it is from.
    """

    path: PathName = AUTO
    system: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        settle(self)

    def of_model(self, directory: Path | None) -> "ChatTemplate":
        """Returns this template, or if it is "auto", the one beside a model's tokenizer.

        Args:
            directory: with the tokenizer's files; None: there are none.

        Raises:
            UserError: the model's template cannot be read.
        """
        if self.path != AUTO or self.text:
            return self
        path, text = (directory and _own_template(directory)) or (DEFAULT, "")
        return dataclasses.replace(self, path=str(path), text=text)

    @cached_property
    def source(self) -> str:
        """The template's text, as an exported tokenizer carries it."""
        if self.text:
            return self.text
        path = DEFAULT if self.path == AUTO else self.path
        return config.find(path).read_text(encoding="utf-8")

    @cached_property
    def _template(self) -> Any:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        class Undefined(jinja2.Undefined):
            """A name that a template may test, as with `transformers`, but not write out."""

            __str__ = jinja2.Undefined._fail_with_undefined_error  # type: ignore[assignment]

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=Undefined,
            extensions=["jinja2.ext.loopcontrols"],
        )

        def refuse(message: str) -> None:
            raise UserError(f"chat template {self.path}: {message}")

        environment.globals["raise_exception"] = refuse
        environment.filters["tojson"] = _to_json
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"chat template {self.path} line {error.lineno}: {error}") from None

    def render(
        self,
        messages: Sequence[Mapping[str, str]],
        add_generation_prompt: bool = False,
        eos_token: str = "",
        bos_token: str = "",
    ) -> str:
        """Returns the conversation as text.

        Args:
            messages: dicts of `role` (system, user or assistant) and `content`.
            add_generation_prompt: end where an assistant's answer begins.
            eos_token: what the template writes after an answer.
            bos_token: what the template may write before the conversation.

        Raises:
            UserError: a role that the template does not know.
        """
        try:
            return self._template.render(
                messages=self._complete(messages),
                add_generation_prompt=add_generation_prompt,
                bos_token=bos_token,
                eos_token=eos_token,
                tools=None,
                documents=None,
            )
        except UserError:
            raise
        except Exception as error:  # a template is a program, and can fail in any way
            raise UserError(f"chat template {self.path}: {first_line(error)}") from None

    def render_for(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Mapping[str, str]],
        add_generation_prompt: bool = False,
    ) -> str:
        """Returns the conversation as text for `encode_rendered`: special tokens in it are real."""
        safe = [
            {"role": m["role"], "content": protect(m["content"], tokenizer.specials)}
            for m in self._complete(messages)
        ]
        return self.render(safe, add_generation_prompt, tokenizer.eot_token, tokenizer.bos_token)

    def _complete(self, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """The messages with the system prompt; what an assistant said is left to the letter."""
        complete = [
            {
                "role": m["role"],
                "content": m["content"] if m["role"] == "assistant" else m["content"].strip(),
            }
            for m in messages
        ]
        if self.system and not (complete and complete[0]["role"] == "system"):
            complete.insert(0, {"role": "system", "content": self.system})
        return complete

    def pieces(
        self, messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer
    ) -> list[tuple[str, bool]]:
        """Cuts a conversation into (text, is an answer) pieces, which alternate.

        An answer is what the template adds for an assistant's message after the generation prompt.

        Raises:
            UserError: the template writes an answer differently once the conversation continues, so
                the answer cannot be located.
        """
        messages = self._complete(messages)
        cut, pieces = "", []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = self.render_for(tokenizer, messages[:index], True)
            whole = self.render_for(tokenizer, messages[: index + 1])
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
            conversation; `answer` marks the tokens of an assistant's answers, including what the
            template ends an answer with.
        """
        cut = [self.pieces(messages, tokenizer) for messages in conversations]
        encoded = iter(encode_rendered([text for ps in cut for text, _ in ps], tokenizer))
        result = []
        for pieces in cut:
            tokens, answer = [tokenizer.eot_id], [False]
            for _, is_answer in pieces:
                ids = next(encoded)
                if len(tokens) == 1 and ids[:1] == tokens:
                    ids = ids[1:]  # the template begins with end-of-text, too
                tokens += ids
                answer += [is_answer] * len(ids)
            result.append((np.array(tokens, np.int32), np.array(answer)))
        return result


def encode_rendered(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Returns the token ids of texts that `ChatTemplate.render_for` made."""
    plain = [text for text in texts if not is_protected(text)]
    marked = iter(tokenizer.encode_marked(plain))
    return [_spelled_out(t, tokenizer) if is_protected(t) else next(marked) for t in texts]


def _spelled_out(text: str, tokenizer: Tokenizer) -> list[int]:
    cut = runs(text, tokenizer.specials)
    plain = iter(tokenizer.encode_batch([unprotect(r) for r in cut if isinstance(r, str)]))
    return [i for r in cut for i in (next(plain) if isinstance(r, str) else (r,))]


def _own_template(directory: Path) -> tuple[Path, str] | None:
    """Returns a model's own template and the file that has it."""
    file = directory / TEMPLATE_FILE
    if file.exists():
        return file, file.read_text(encoding="utf-8")
    for file in (directory / "chat_template.json", directory / CONFIG_FILE):
        settings = read_json(file) if file.exists() else {}
        if not isinstance(settings, dict):
            raise UserError(f"{file} is not a JSON object")
        found = settings.get("chat_template")
        if isinstance(found, list):  # several, by name
            several = [each for each in found if isinstance(each, dict)]
            named = {each.get("name"): each.get("template") for each in several}
            found = named.get("default")
            if found is None:
                raise UserError(
                    f"{file} has several chat templates ({', '.join(map(str, named))}) and none "
                    "is the default: name a file with ChatTemplate.path"
                )
        if isinstance(found, str):
            return file, found
    return None


def _to_json(value: Any, indent: int | None = None, **unused: Any) -> str:
    """Jinja's own would escape for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
