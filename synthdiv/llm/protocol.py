"""What is asked and what comes back: the words that sessions, backends and callers share.

A caller makes a `Request` and gets a `Reply`. Between them a request becomes one or more `Call`s
(the first question, the question with more room, the question that quotes a fault), each answered
by a backend with an `Answer`. A backend is anything with the methods of `Backend`; it tells what
went wrong by raising `Transient`, `Permanent`, `Again` or `Deferred`, and never sends twice on its
own.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from synthdiv.json_lines import encodable

T = TypeVar("T")

Message = Mapping[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model draws its reply; all of it is part of what an answer is stored under.

    Args:
        temperature: 0 is greedy.
        top_p: the share of probability that is drawn from.
        max_tokens: room for the reply; a reply that is cut off is asked again with more.
        seed: for servers that take one, and for the offline stand-in.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 2048
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One question to a language model.

    Args:
        messages: {"role", "content"} dicts, in order.
        schema: pydantic class of the wanted JSON; None for free text, whose value is a string.
        sampling: how to draw.
        stage: what the question is for, a word ("clustering"); names batch files and plans.
        repeat: the same question may be asked several times; each repeat has its own answer.
        check: what the schema cannot say. Called with a value that fits the schema, it returns a
            fault in words, which is quoted to the model once, or None. No part of the question:
            requests that differ in it alone are equal.
        expected: tokens of a usual reply, for plans; no part of the question either.
    """

    messages: tuple[Message, ...]
    schema: type[T] | None = None
    sampling: Sampling = Sampling()
    stage: str = ""
    repeat: int = 0
    check: Callable[[T], str | None] | None = field(default=None, compare=False, repr=False)
    expected: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the server counts them: of the prompt, of it from the server's cache, written."""

    input: int = 0
    cached: int = 0
    output: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input + other.input, self.cached + other.cached, self.output + other.output
        )


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """What a request came to.

    Attributes:
        text: the model's last words.
        value: the validated instance of the request's schema, or the text where there is no schema.
            None after a failure, except where only the request's own check found fault: then it is
            the last value that fits the schema, for the caller to repair.
        usage: tokens of every call that the reply took.
        finish_reason: of the last call.
        cached: whether the store answered all of them.
        failure: None, or why there is no usable reply.
    """

    text: str
    value: T | None
    usage: Usage
    finish_reason: str
    cached: bool
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to one call, as it is stored.

    `finish_reason` is "stop", "length" (cut off), "refusal" (the text holds the model's words), or
    another word of the server's. `counted` is False where the server did not count the tokens.
    """

    text: str
    usage: Usage
    finish_reason: str = "stop"
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """One question as a backend sees it: exactly what a server is sent.

    `schema` is the JSON schema of the wanted reply, with the pydantic class's name as its title.
    `key` is what the answer is stored under.
    """

    messages: tuple[Message, ...]
    schema: dict[str, Any] | None
    temperature: float
    top_p: float
    max_tokens: int
    seed: int | None
    stage: str = ""
    key: bytes = b""

    def keyed(self, *asked_of: object) -> "Call":
        """Returns the call with its key: a hash of everything that shapes the answer.

        Args:
            *asked_of: what the call itself does not tell: backend, model, the server's extra
                parameters, the schema's digest, the repeat.
        """
        messages = [[m["role"], m["content"]] for m in self.messages]
        shape = [*asked_of, self.temperature, self.top_p, self.max_tokens, self.seed, messages]
        text = json.dumps(shape, ensure_ascii=False, sort_keys=True)
        try:
            return replace(self, key=hashlib.sha256(text.encode()).digest())
        except UnicodeEncodeError:  # half a surrogate pair, which no server could be sent
            clean = tuple(dict(m, content=encodable(m["content"])) for m in self.messages)
            return replace(self, messages=clean).keyed(*asked_of)


class BackendError(Exception):
    """What a backend raises; the message is the server's words, without any key."""


class Transient(BackendError):
    """It may pass: a timeout, 429, 5xx, a broken connection. Worth another attempt.

    Args:
        message: the server's words.
        overloaded: the server asks for less (429, 503): concurrency goes down.
        retry_after: seconds that the server asks to wait.
        lost: the server may have answered, and charged, without the answer getting here.
        reached: False where there was no connection at all.
    """

    def __init__(
        self,
        message: str,
        overloaded: bool = False,
        retry_after: float = 0.0,
        lost: bool = False,
        reached: bool = True,
    ) -> None:
        super().__init__(message)
        self.reached = reached
        self.overloaded = overloaded
        self.retry_after = retry_after
        self.lost = lost


class Permanent(BackendError):
    """It will not pass: 400, 401, 404. `everywhere` if every other call would meet the same."""

    def __init__(self, message: str, everywhere: bool = False) -> None:
        super().__init__(message)
        self.everywhere = everywhere


class Again(BackendError):
    """The call was refused for the way it was put; next time the backend puts it another way."""


class Deferred(BackendError):
    """The call was put down to be answered later, outside this run.

    Args:
        message: what it waits for.
        again: whether the call is not a request's first: an earlier reply had a fault.
    """

    def __init__(self, message: str, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class Backend(Protocol):
    """Who answers: one file each in synthdiv/llm/backends/, one contract test over all of them."""

    name: str
    model: str

    def prepare(self) -> None:
        """Called before anything is asked, and not for a plan.

        Raises:
            UserError: there is no key, or a package is missing.
        """
        ...

    async def complete(self, call: Call) -> Answer:
        """Answers one call, or raises Transient, Permanent, Again or Deferred."""

    async def close(self) -> None:
        """Gives connections back."""

    def deferred(self) -> str | None:
        """Closes what `Deferred` calls were written to.

        Returns:
            what the user is to do before the same command is run again, if anything.
        """
