"""One request's way to its reply: parse, check, ask again with more room or with the fault quoted.

Every step is a call of its own with its own key, so a run that was stopped in the middle of a
conversation takes it up from the store and comes to the same reply.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from synthdiv.llm.exchange import CallFailed, Exchange
from synthdiv.llm.protocol import Answer, Call, Reply, Request, Usage
from synthdiv.llm.structured import parse, schema_digest, wire_schema

Check = Callable[[Request, Any], str | None]

_SEED_STEP = 1_000_003  # how far apart the seeds of two repeats are
_QUOTED = 20_000  # characters of a faulty reply that are shown to the model again


@dataclass(frozen=True)
class Manners:
    """What shapes calls beside the request, and how patient a conversation is.

    Args:
        asked_of: backend, model and the server's extra parameters: part of every key.
        reasks: times that a faulty reply is asked for again with the fault quoted.
        more_room: a cut-off reply is asked for again with up to so many times its max_tokens.
    """

    asked_of: tuple[object, ...]
    reasks: int
    more_room: int


def first_call(request: Request, manners: Manners) -> Call:
    """Returns the call that a request starts with."""
    sampling = request.sampling
    seed = sampling.seed
    if request.repeat:
        seed = ((seed or 0) + request.repeat * _SEED_STEP) % 2**31
    call = Call(
        messages=tuple(request.messages),
        schema=wire_schema(request.schema) if request.schema else None,
        temperature=float(sampling.temperature),
        top_p=float(sampling.top_p),
        max_tokens=sampling.max_tokens,
        seed=seed,
        stage=request.stage,
    )
    return _keyed(call, request, manners)


def _keyed(call: Call, request: Request, manners: Manners) -> Call:
    return call.keyed(*manners.asked_of, schema_digest(request.schema), request.repeat)


class Conversation:
    """Asks one request to its end."""

    def __init__(
        self, exchange: Exchange, request: Request, check: Check | None, manners: Manners
    ) -> None:
        self._exchange, self._request, self._check = exchange, request, check
        self._manners = manners
        self._usage = Usage()
        self._all_cached = True
        self._mended = False
        self._last: Any = None  # the latest value that fits the schema

    async def reply(self) -> Reply:
        """Returns the reply; a failure is told in it.

        Raises:
            Deferred, Paused, UserError: as Exchange.answer.
        """
        most = self._request.sampling.max_tokens * self._manners.more_room
        reasks = self._manners.reasks
        call = first_call(self._request, self._manners)
        cut_off = ""
        while True:
            try:
                answer, cached = await self._exchange.answer(call)
            except CallFailed as error:
                return self._failed(Answer("", Usage(), ""), f"{cut_off}{error}")
            self._usage += answer.usage
            self._all_cached = self._all_cached and cached
            if answer.finish_reason == "refusal":
                return self._failed(answer, f"the model refused: {answer.text[:400]}".rstrip(": "))
            value, fault = self._read(answer)
            if fault is None:
                return self._succeeded(answer, value)
            if answer.finish_reason == "length":
                if call.max_tokens < most:
                    cut_off = f"the reply was cut off at {call.max_tokens} tokens; with more room: "
                    room = min(2 * call.max_tokens, most)
                    call = _keyed(replace(call, max_tokens=room), self._request, self._manners)
                    self._mended = True
                    continue
                fault = f"the reply was cut off at {call.max_tokens} tokens"
            if not reasks:
                return self._failed(answer, fault)
            reasks -= 1
            self._mended = True
            call = self._asking_again(call, answer, fault)

    def _read(self, answer: Answer) -> tuple[Any, str | None]:
        """The value of an answer, and what is wrong with it."""
        cut_off = answer.finish_reason == "length"
        schema = self._request.schema
        if schema is None:
            value = answer.text
            fault = "the reply was empty" if not value.strip() else None
            if cut_off:
                fault = "the reply was cut off"
        else:
            value, repaired, fault = parse(answer.text, schema, repair=not cut_off)
            if fault is None:
                self._last = value
                self._mended = self._mended or repaired
        if fault is None and self._check is not None:
            fault = self._check(self._request, value)
        return value, fault

    def _asking_again(self, call: Call, answer: Answer, fault: str) -> Call:
        """The question again, with the faulty reply and what is wrong with it."""
        form = "the JSON object alone" if self._request.schema else "the reply alone"
        again = (
            f"That reply cannot be used: {fault}. Answer the same request again, with this put"
            f" right. Reply with {form}, without an apology or an explanation."
        )
        said = answer.text[:_QUOTED] or "(nothing)"
        messages = (
            *call.messages,
            {"role": "assistant", "content": said},
            {"role": "user", "content": again},
        )
        return _keyed(replace(call, messages=messages, key=b""), self._request, self._manners)

    def _succeeded(self, answer: Answer, value: Any) -> Reply:
        self._exchange.counts.repaired += self._mended
        value = value if self._request.schema else None
        return Reply(answer.text, value, self._usage, answer.finish_reason, self._all_cached)

    def _failed(self, answer: Answer, fault: str) -> Reply:
        self._exchange.counts.failed += 1
        return Reply(
            answer.text, self._last, self._usage, answer.finish_reason, self._all_cached, fault
        )
