"""Coroutines through a session: order, faults, pauses of several, flat look-ahead."""

import asyncio
import json
from pathlib import Path

import pytest

from synthdiv.errors import Paused, UserError
from synthdiv.llm import (
    Awaiting,
    LLMConfig,
    Request,
    Session,
    Steps,
    in_steps,
    one_pause,
    open_session,
    together,
)
from synthdiv.llm.money import FREE
from synthdiv.llm.protocol import Answer, Call, Deferred, Usage
from tests.llm.serving import Groups, question


class Echo:
    """Answers with the number of messages so far and the last one's length."""

    name, model = "echo", "any"

    def __init__(self) -> None:
        self.in_flight = self.most = 0

    async def complete(self, call: Call) -> Answer:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await asyncio.sleep(0.001)
        self.in_flight -= 1
        length = len(call.messages[-1]["content"])
        said = {"groups": [{"name": str(length), "indices": [len(call.messages)]}]}
        return Answer(json.dumps(said), Usage(1, 0, 1))

    async def close(self) -> None:
        pass

    def deferred(self) -> str | None:
        return None


def text(words: str) -> Request[Groups]:
    return Request(({"role": "user", "content": words},), Groups)


def length_of(value: Groups | None) -> int:
    assert value is not None
    return int(value.groups[0].name)


def test_a_coroutine_may_ask_what_follows_from_a_reply() -> None:
    with Session(LLMConfig(), Echo(), FREE, None) as session:

        async def twice(words: str) -> int:
            first = await session.ask(text(words))
            second = await session.ask(text("x" * (10 * length_of(first.value))))
            return length_of(second.value)

        found = dict(session.map(twice, ("a" * n for n in range(1, 40))))
        assert found == {n - 1: 10 * n for n in range(1, 40)}
        assert session.stats["calls"]["sent"] + session.stats["calls"]["cached"] == 2 * 39


def test_no_more_are_under_way_than_wanted() -> None:
    backend = Echo()
    taken = done = 0

    def items():
        nonlocal taken
        for taken in range(1, 101):  # noqa: B007  read by the loop below
            yield f"{taken}"

    with Session(LLMConfig(), backend, FREE, None) as session:

        async def work(words: str) -> int:
            return length_of((await session.ask(text(words))).value)

        for _ in session.map(work, items(), at_once=5):
            done += 1
            assert taken - done <= 5
    assert done == 100 and backend.most <= 5


def test_an_error_in_a_coroutine_is_the_callers() -> None:
    with Session(LLMConfig(), Echo(), FREE, None) as session:

        async def work(number: int) -> int:
            await session.ask(text(str(number)))
            if number == 7:
                raise ZeroDivisionError("of the caller")
            return number

        with pytest.raises(ZeroDivisionError, match="of the caller"):
            list(session.map(work, range(50)))
        assert sorted(result for _, result in session.map(work, range(7))) == list(range(7))


def test_asking_outside_of_a_map_is_refused() -> None:
    with (
        Session(LLMConfig(), Echo(), FREE, None) as session,
        pytest.raises(RuntimeError, match="awaited in a coroutine that Session.map runs"),
    ):
        asyncio.run(session.ask(text("a")))


def test_a_check_is_no_part_of_the_question() -> None:
    plain = text("a")
    checked = Request(plain.messages, Groups, check=lambda value: "never right")
    assert checked == plain
    with Session(LLMConfig(), Echo(), FREE, None) as session:
        good, bad = session.ask_all([plain, checked])
        assert good.failure is None and bad.failure == "never right"
        assert length_of(bad.value) > 0, "a value that fits the schema is there to be repaired"
        assert session.stats["calls"] == {
            "sent": 2, "cached": 1, "retried": 0, "repaired": 0, "failed": 1,
        }  # fmt: skip


def test_together_lets_all_end_and_raises_the_worst() -> None:
    ended = []

    async def ends(error: Exception | None) -> str:
        await asyncio.sleep(0.001 * (3 - len(ended)))
        ended.append(error)
        if error:
            raise error
        return "done"

    assert asyncio.run(together(ends(None), ends(None))) == ("done", "done")
    for errors, worst in (
        ((Deferred("later"), Paused("cap"), None), Paused),
        ((Deferred("later"), None, UserError("wrong")), UserError),
        ((None, Deferred("later"), None), Deferred),
    ):
        ended.clear()
        with pytest.raises(worst):
            asyncio.run(together(*map(ends, errors)))
        assert len(ended) == 3


def test_several_pieces_wait_together(tmp_path: Path) -> None:
    with open_session(LLMConfig("batch", "m"), tmp_path / "answers.sqlite") as session:
        reached = []
        with (
            pytest.raises(Awaiting, match="^6 grouping requests are written") as pause,
            one_pause(session, None) as piece,
        ):
            for start in (0, 3):
                with piece():
                    with one_pause(session) as inner, inner():
                        session.ask_all([question(n) for n in range(start, start + 3)])
                    reached.append("after a wait")
                assert not list(tmp_path.glob("batch_*")), "the file comes when all is in it"
        assert str(pause.value).count("requests are written") == 1 and not reached
        (requests,) = tmp_path.glob("batch_*")
        assert len(requests.read_text().splitlines()) == 6


def test_a_question_is_once_in_a_file_however_often_it_is_asked(tmp_path: Path) -> None:
    with open_session(LLMConfig("batch", "m"), tmp_path / "answers.sqlite") as session:
        asked = [question(n % 2) for n in range(600)]
        with pytest.raises(Awaiting, match="^2 grouping requests"), one_pause(session) as piece:
            for _ in range(2):
                with piece():
                    session.ask_all(asked)


def test_a_pause_says_which_step_it_is_and_whether_replies_are_asked_for_again(
    tmp_path: Path,
) -> None:
    steps = {"first": ["none"], "second": ["grouping"], "third": ["other"], "fourth": ["more"]}

    def paused(inside: Steps) -> str:
        with (
            open_session(LLMConfig("batch", "m"), tmp_path / "answers.sqlite") as session,
            pytest.raises(Awaiting) as pause,
            in_steps(inside, {"of another kind": ["none"]}),
            one_pause(session) as piece,
            piece(),
            in_steps(inside),  # where it is held, nothing is said twice
        ):
            session.ask_all([question(1)])
        return str(pause.value)

    first = paused(steps)
    assert first.startswith("step 2 of 4, second (then third and fourth): 1 grouping request is")
    (requests,) = tmp_path.glob("batch_*_requests.jsonl")
    (line,) = map(json.loads, requests.read_text().splitlines())
    body = {"choices": [{"message": {"content": "no JSON"}, "finish_reason": "stop"}]}
    answer = {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}}
    (tmp_path / "batch_grouping_answers.jsonl").write_text(json.dumps(answer))
    again = paused({"only": ["grouping"]})
    assert again.startswith("step 1 of 1, only, replies asked for again (the last): 1 grouping")


def test_another_error_of_a_piece_is_no_wait(tmp_path: Path) -> None:
    with open_session(LLMConfig("batch", "m"), tmp_path / "answers.sqlite") as session:
        with pytest.raises(UserError, match="wrong"), one_pause(session) as piece:
            with piece():
                session.ask_all([question(1)])
            with piece():
                raise UserError("wrong")
        with pytest.raises(Awaiting, match="2 grouping requests"):
            session.ask_all([question(1), question(2)])
