"""One request's way to its reply: parse, check, ask again with more room or with the fault quoted.

Every step is a call of its own with its own key, so a run that was stopped in the middle of a
conversation takes it up from the store and comes to the same reply.
"""

import asyncio
from dataclasses import replace
from typing import Any, TypeVar, cast

from synthdiv.llm.exchange import CallFailed, Exchange
from synthdiv.llm.protocol import Answer, Call, Deferred, Reply, Request, Usage
from synthdiv.llm.structured import parse, schema_digest, wire_schema

T = TypeVar("T")

_SEED_STEP = 1_000_003  # how far apart the seeds of two repeats are
_AT_ONCE = 50_000  # characters of a reply that are read in the event loop
_QUOTED = 20_000  # characters of a faulty reply that are shown to the model again


def first_call(request: Request[Any], asked_of: tuple[object, ...]) -> Call:
    """Returns the call that a request starts with.

    Args:
        request: what is asked.
        asked_of: who is asked, as `exchange.asked_of` has it: part of every key.
    """
    sampling, schema = request.sampling, cast(Any, request.schema)
    seed = sampling.seed
    if request.repeat:
        seed = ((seed or 0) + request.repeat * _SEED_STEP) % 2**31
    call = Call(
        messages=tuple(request.messages),
        schema=wire_schema(schema) if schema else None,
        temperature=float(sampling.temperature),
        top_p=float(sampling.top_p),
        max_tokens=sampling.max_tokens,
        seed=seed,
        stage=request.stage,
    )
    return _keyed(call, request, asked_of)


def _keyed(call: Call, request: Request[Any], asked_of: tuple[object, ...]) -> Call:
    return call.keyed(*asked_of, schema_digest(cast(Any, request.schema)), request.repeat)


async def converse(exchange: Exchange, request: Request[T]) -> Reply[T]:
    """Asks one request to its end and returns the reply; a failure is told in it.

    Raises:
        Deferred, Paused, UserError: as Exchange.answer.
    """
    most = request.sampling.max_tokens * exchange.config.more_room
    reasks = exchange.config.reasks
    usage, cached, mended, cut_off = Usage(), True, False, ""
    fitting: T | None = None  # the latest value that fits the schema
    call = first = first_call(request, exchange.asked_of)

    def failed(answer: Answer, failure: str) -> Reply[T]:
        exchange.counts.failed += 1
        return Reply(answer.text, fitting, usage, answer.finish_reason, cached, failure)

    while True:
        try:
            answer, was_kept = await exchange.answer(call)
        except CallFailed as error:
            return failed(Answer("", Usage(), ""), f"{cut_off}{error}")
        except Deferred as wait:
            raise Deferred(str(wait), again=call is not first) from None
        usage += answer.usage
        cached = cached and was_kept
        if answer.finish_reason == "refusal":
            return failed(answer, f"the model refused: {answer.text[:400]}".rstrip(": "))
        found = await _read(request, answer)
        value, repaired, fault = found
        if value is not None:
            mended = mended or repaired
            fitting = value if request.schema else None
            if fault is None and request.check is not None:
                fault = request.check(value)
        if fault is None:
            exchange.counts.repaired += mended
            return Reply(answer.text, value, usage, answer.finish_reason, cached)
        if answer.finish_reason == "length":
            if call.max_tokens < most:
                cut_off = f"the reply was cut off at {call.max_tokens} tokens; with more room: "
                room = min(2 * call.max_tokens, most)
                call = _keyed(replace(call, max_tokens=room), request, exchange.asked_of)
                mended = True
                continue
            fault = f"the reply was cut off at {call.max_tokens} tokens"
        if not reasks:
            return failed(answer, fault)
        reasks -= 1
        mended = True
        call = _keyed(_with_the_fault(call, request, answer, fault), request, exchange.asked_of)


async def _read(request: Request[T], answer: Answer) -> tuple[T | None, bool, str | None]:
    """The value of an answer, whether its JSON was repaired, and what is wrong with it."""
    cut_off = answer.finish_reason == "length"
    if request.schema is not None:
        model = cast(type[Any], request.schema)
        if len(answer.text) <= _AT_ONCE:
            value, _, fault = parse(answer.text, model, repair=False)
            if value is not None or cut_off:
                return value, False, fault
        # What is long or broken may take seconds, and others wait for this loop.
        return await asyncio.to_thread(parse, answer.text, model, repair=not cut_off)
    if cut_off:
        return None, False, "the reply was cut off"
    if not answer.text.strip():
        return None, False, "the reply was empty"
    return cast(T, answer.text), False, None


def _with_the_fault(call: Call, request: Request[Any], answer: Answer, fault: str) -> Call:
    """The call again, with the faulty reply and what is wrong with it."""
    form = "the JSON object alone" if request.schema else "the reply alone"
    again = (
        f"That reply cannot be used: {fault}. Answer the same request again, with this put right."
        f" Reply with {form}, without an apology or an explanation."
    )
    said = answer.text[:_QUOTED] or "(nothing)"
    messages = (
        *call.messages,
        {"role": "assistant", "content": said},
        {"role": "user", "content": again},
    )
    return replace(call, messages=messages, key=b"")
