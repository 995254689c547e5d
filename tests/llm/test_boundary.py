"""What a server may put into a reply: nothing of it ends a run, is lost, or is believed unseen."""

import asyncio
import base64
import json
import random
import sqlite3
import string
import time
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from synthdiv.errors import Paused, UserError
from synthdiv.llm import Sampling, open_session
from synthdiv.llm.backends.wire import answer_of, body_of
from synthdiv.llm.door import LONGEST_REPLY, Door
from synthdiv.llm.group_commit import GroupCommit
from synthdiv.llm.mending import mended
from synthdiv.llm.protocol import Answer, BackendError, Call, Permanent, Transient, Usage
from synthdiv.llm.secrets import Secrets, check_key, without_password
from synthdiv.llm.store import Claim, Commit, Store, Unstorable
from synthdiv.llm.structured import parse
from tests.fuzzing import fuzz
from tests.llm.fault_server import RAW_FAULTS
from tests.llm.serving import question, serving

LOST = ("html", "empty_body", "no_content", "brackets", "digits", "finish_object", "not_utf8")
LOST = (*LOST, "message_list")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", sorted({*RAW_FAULTS} - {"redirect"}))
def test_one_malformed_reply_costs_no_other(path: Path, fault: str) -> None:
    requests = [question(i) for i in range(6)]
    with serving(script=[fault]) as server:  # the first attempt of each question
        with open_session(server.config(), path) as session:
            replies = session.ask_all(requests)
            counts = session.stats["calls"]
        seen = server.seen()
    failed = [reply.failure for reply in replies if reply.failure]
    if fault == "refusal_object":
        assert len(failed) == 6 and all("the model refused" in words for words in failed)
    else:
        assert not failed
        assert counts["retried"] == (6 if fault in LOST else 0)
    asked = sum(seen["asked"].values())
    assert asked == counts["sent"] + counts["retried"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT calls FROM ledger").fetchone() == (asked,)
        assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
    connection.close()


def test_a_redirect_is_not_followed(path: Path) -> None:
    with serving(faults={"redirect": 1.0}) as server:
        with (
            open_session(server.config(concurrency=1), path) as session,
            pytest.raises(UserError, match="307: a redirect to .*, and none is followed"),
        ):
            session.ask_all([question(1)])
        assert sum(server.seen()["asked"].values()) == 1


@pytest.mark.parametrize(
    "usage",
    ["none", "zero_usage", "negative_usage", "huge_usage", "usage_text", "no_usage"],
)
def test_caps_do_not_believe_impossible_counts(tmp_path: Path, usage: str) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"test": {"input": 1000, "output": 5000}}}')
    faults = {} if usage == "none" else {usage: 1.0}
    with serving(usage="none", faults=faults, prices=[1000, 5000]) as server:
        config = server.config(prices=str(prices), max_cost_usd=20.0)
        with open_session(config, tmp_path / "a.sqlite") as session, pytest.raises(Paused):
            session.ask_all([question(i) for i in range(100)])
        assert 0 < server.seen()["charged"] / 1e6 <= 20
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        spent, lost = connection.execute("SELECT spent, lost FROM ledger").fetchone()
    connection.close()
    assert 0 < spent + lost <= 20 * 10**12


def test_what_extra_asks_for_is_reserved(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"test": {"input": 0, "output": 5000}}}')
    with serving() as server:
        config = server.config(
            prices=str(prices), max_cost_usd=20.0, extra={"max_tokens": 5000, "n": 2}
        )  # 2 x 5000 tokens at $5000 a million: $50 a call
        with open_session(config, tmp_path / "a.sqlite") as session:
            assert session.plan({"grouping": [question(1)]}).stages[0].most_output == 10_000
            with pytest.raises(Paused, match="could exceed"):
                session.ask_all([question(1)])
        assert not server.seen()["asked"]
    for wrong in ({"n": "two"}, {"max_tokens": -1}):
        with pytest.raises(UserError, match="LLM.extra"):
            server.config(extra=wrong)


def test_a_bad_row_fails_alone(path: Path) -> None:
    store = Store(path)
    good = Answer("yes", Usage(1, 0, 1))
    bad = [Answer("no", Usage(2**70, 0, 1)), Answer("no", Usage(1, 0, 1), {})]  # type: ignore[arg-type]
    keys = [bytes([i]) * 32 for i in range(10)]

    async def commit() -> list[object]:
        writes = GroupCommit(store, pytest.fail)
        await asyncio.gather(*(writes.put(Claim(key, 0)) for key in keys))
        answers = [good] * 4 + bad + [good] * 4
        puts = [
            writes.put(Commit(key, answer, "s", 1, 0, 1))
            for key, answer in zip(keys, answers, strict=True)
        ]
        results = await asyncio.gather(*puts, return_exceptions=True)
        await writes.close()
        return results

    results = asyncio.run(commit())
    assert results[:4] == results[6:] == [True] * 4
    assert all(isinstance(result, Unstorable) for result in results[4:6])


def test_claims_without_an_owner_are_free(path: Path) -> None:
    store = Store(path, max_cost=100)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO claims VALUES(?, 'gone', 1, 30)", (b"k" * 32,))
        connection.execute(  # its clock was a year ahead
            "INSERT INTO owners VALUES('ahead', 'elsewhere', 1, ?)", (time.time() + 3e7,)
        )
        connection.execute("INSERT INTO claims VALUES(?, 'ahead', 1, 20)", (b"l" * 32,))
    connection.close()
    time.sleep(1.1)  # the dead are looked for once a second
    assert store.apply([Claim(b"k" * 32, 10), Claim(b"l" * 32, 10)]) == ["granted"] * 2
    totals = store.totals()
    assert (totals.lost, totals.calls, totals.claimed) == (50, 2, 2)


def test_a_process_taken_for_dead_owns_what_it_claims_next(path: Path) -> None:
    stalled, other = Store(path), Store(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM owners WHERE owner = ?", (stalled.owner,))
    connection.close()
    assert stalled.apply([Claim(b"k" * 32, 10)]) == ["granted"]
    time.sleep(1.1)
    assert other.apply([Claim(b"k" * 32, 10)]) == ["held"]


class Words(BaseModel):
    words: list[str]


HOSTILE = {
    "fences": "```\n" * 50_000,
    "open fence": "```" + "\n" * 100_000,
    "thoughts": "<think>" * 30_000,
    "brackets": "[" * 100_000,
    "objects": '{"words": ' * 30_000,
    "quotes": '{"words": ["' + '"' * 100_000,
    "commas": "{" + "," * 190_000,
    "pieces": '{"words": [' + '"x" ' * 50_000,
    "wrong": '{"words": [' + "1," * 50_000 + "1]}",
    "digits": '{"words": [' + "9" * 5_000 + "]}",
    "long": '{"words": ["' + "x" * 2_000_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_replies_leave_the_loop_to_others(path: Path, text: str) -> None:
    """Others are answered while a reply is being read, and the reading ends."""
    longest = 0.0

    async def watched() -> None:
        nonlocal longest
        reading = asyncio.create_task(read())
        while not reading.done():
            before = time.thread_time()
            await asyncio.sleep(0.005)
            longest = max(longest, time.thread_time() - before)
        await reading

    async def read() -> None:
        value, _, fault = await asyncio.to_thread(parse, text, Words)
        assert value is not None or fault

    asyncio.run(watched())
    assert longest < 1.0, "CPU seconds of the loop's own thread"


def test_mending_is_bounded_by_work_and_not_by_time() -> None:
    assert mended('{"a": ["b", "c"') == {"a": ["b", "c"]}
    assert mended("{" + "," * 199_000) is None
    assert mended('{"a": "' + "x" * 250_000) is None
    assert mended('{"a": "\ud800"') == {"a": "?"}


def test_half_a_surrogate_pair_is_cleaned_wherever_it_stands(path: Path) -> None:
    says = json.dumps({"groups": [{"name": "\ud800 or \udfff", "indices": [1]}]})
    for text in (says, says.replace('"indices"', "indices")):
        with serving(says=text) as server, open_session(server.config(), None) as session:
            (reply,) = session.ask_all([question(1)])
        assert reply.value is not None
        json.dumps(reply.value.model_dump(), ensure_ascii=False).encode()
        reply.text.encode()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_asks_for_a_long_wait_is_heard_once(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(script=["429"], retry_after=1e9) as server:
        config = server.config(patience=0.5)
        with open_session(config, path) as session:  # which would go on for thirty years
            replies = session.ask_all([question(i) for i in range(4)])
    assert all(reply.failure is None for reply in replies)
    said = [line for line in capsys.readouterr().err.splitlines() if "asks to wait" in line]
    assert len(said) == 1 and "1e+09 s" in said[0]


# Keys: none looks like one of a known make.
KEY = "Qx7/vT3m+Wx5Rn=7Kj2Lp9Hd4"
PASSWORD = "hunter2/at@home"


def _mangled(key: str) -> dict[str, str]:
    code = base64.b64encode(f"user:{key} and more".encode()).decode()
    return {
        "as it is": f"your key {key}!",
        "over lines": f"your key {key[:9]}\n  {key[9:]}",
        "concatenated": f"'{key[:9]}' + '{key[9:]}'",
        "in capitals": key.upper(),
        "escaped": "".join(f"\\u{ord(c):04x}" for c in key),
        "escaped slash": json.dumps(key).replace("/", "\\/"),
        "url": urllib.parse.quote(key, safe=""),
        "url twice": urllib.parse.quote(urllib.parse.quote(key, safe=""), safe=""),
        "entities": "".join(f"&#{ord(c)};" for c in key),
        "base64": code,
        "base64 over lines": "\n".join(code[i : i + 10] for i in range(0, len(code), 10)),
        "base64 for addresses": base64.urlsafe_b64encode(f"x{key}".encode()).decode(),
        "hexadecimal": key.encode().hex(),
    }


@pytest.mark.parametrize("text", _mangled(KEY).values(), ids=_mangled(KEY))
def test_a_key_is_found_in_every_form(text: str) -> None:
    clean = Secrets([KEY]).words(f"before {text} after")
    assert "***" in clean and clean.startswith("before ") and clean.endswith(" after")
    for part in (KEY[:8], KEY[-8:], text[9:17], text[-14:-6]):
        assert part not in clean


@fuzz(150)
@given(
    key=st.text(string.ascii_letters + string.digits + "-_+/=.", min_size=10, max_size=60),
    before=st.text(max_size=40),
    after=st.text(max_size=40),
)
def test_no_text_shows_a_key(key: str, before: str, after: str) -> None:
    secrets = Secrets([key])
    for form in _mangled(key).values():
        clean = secrets.out_of(before + form + after)
        assert form not in clean
        assert key not in clean


def test_words_and_short_keys_stay() -> None:
    secrets = Secrets(["none", "EMPTY", ""])
    assert secrets.out_of("none of them is EMPTY") == "none of them is EMPTY"
    assert Secrets([KEY]).out_of("50% of\\n it \\u0041") == "50% of\\n it \\u0041"
    assert len(secrets.words("x" * 5000)) < 410
    words = "Incorrect sk-abc123def456 and Bearer abcdefghijkl at https://me:p@w@host/v1\n next"
    assert secrets.words(words) == "Incorrect *** and *** at https://***@host/v1 next"


def test_odd_keys_are_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    for odd in ("Qx7vT3mW\n", "Qx7vT3m W", "Qx7vT3mé", "\x00Qx7vT3m"):
        with pytest.raises(UserError, match="OPENAI_API_KEY cannot be one") as refusal:
            check_key("OPENAI_API_KEY", odd)
        assert "Qx7" not in str(refusal.value)
    monkeypatch.setenv("OPENAI_API_KEY", "Qx7vT3mW\n")
    with serving() as server, pytest.raises(UserError, match="cannot be one"):
        open_session(server.config(), None)


@pytest.mark.usefixtures("impatient")
def test_no_key_or_password_comes_back(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    says = " ".join([*_mangled(KEY).values(), PASSWORD])
    shown = []
    for reply in (
        {"says": says},
        {"says": says, "finish": "content_filter"},
        {"refuse": {"status": 400, "words": says}},
        {"refuse": {"status": 500, "words": says}},
    ):
        with serving(**reply) as server:
            config = server.config(retries=1)
            user = "me:hunter2%2Fat%40home@"
            config = replace(config, base_url=server.url.replace("://", f"://{user}"))
            with open_session(config, path) as session:
                replies = session.ask_all([question(1, schema=None, sampling=Sampling(seed=5))])
        shown += [replies[0].text, str(replies[0].failure)]
        path.unlink(missing_ok=True)
    shown.append(capsys.readouterr().err)
    for text in shown:
        for secret in (KEY, PASSWORD, "hunter2", *_mangled(KEY).values()):
            assert secret not in text
    assert without_password("--base_url=http://me:p/w@host/v1") == "--base_url=http://***@host/v1"


CALL = Call(({"role": "user", "content": "x" * 400},), None, 1.0, 1.0, 100, None)


class Saying:
    """A backend that answers whatever it was given."""

    name = model = "saying"

    def __init__(self, body: bytes) -> None:
        self.body = body

    def prepare(self) -> None: ...

    async def complete(self, call: Call) -> Answer:
        return answer_of(body_of(self.body))

    async def close(self) -> None: ...

    def deferred(self) -> str | None: ...


_leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["stop", "length", "\ud800", KEY, "content_filter", '{"words": ["a"'])
)
_any = st.recursive(_leaf, lambda part: st.lists(part, max_size=3), max_leaves=8)
_completion = st.fixed_dictionaries(
    {},
    optional={
        "choices": _any
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "message": _any
                    | st.fixed_dictionaries({}, optional={"content": _any, "refusal": _any}),
                    "finish_reason": _any,
                },
            ),
            max_size=2,
        ),
        "usage": _any
        | st.fixed_dictionaries({}, optional={"prompt_tokens": _any, "completion_tokens": _any}),
    },
)


@fuzz(150)
@given(body=_completion | _any, cut=st.integers(0, 400))
def test_whatever_a_server_sends_is_an_answer_or_may_pass(body: Any, cut: int) -> None:
    door = Door(Saying(b""), Secrets([KEY]))
    sent = json.dumps(body).encode()
    for content in (sent, sent[:cut]):
        door._backend = Saying(content)
        try:
            answer = asyncio.run(door.complete(CALL))
        except BackendError as error:
            assert isinstance(error, (Transient, Permanent)) and KEY not in str(error)
            str(error).encode()
            continue
        answer.text.encode()
        assert KEY not in answer.text and len(answer.text) <= LONGEST_REPLY
        usage = answer.usage
        assert 0 <= usage.cached <= usage.input <= 10**8 and 0 <= usage.output <= 10**8
        assert not answer.counted or usage.input > 0
        assert isinstance(answer.finish_reason, str)
        value, _, fault = parse(answer.text, Words)
        assert (value is None) == (fault is not None)


@fuzz(150)
@given(seed=st.integers(0, 2**32), cuts=st.integers(1, 6))
def test_mangled_json_is_read_or_refused(seed: int, cuts: int) -> None:
    draw = random.Random(seed)
    text = json.dumps({"words": ["a", 'b"c', "\ud800", "```"]}, indent=draw.choice([None, 1]))
    for _ in range(cuts):
        at = draw.randrange(len(text) + 1)
        more = draw.choice(['"', "{", "[", "}", "```\n", "\\", "\\ud800", "", "<think>", "\x00"])
        text = text[:at] + more + text[at + draw.randrange(3) :]
    value, _, fault = parse(text, Words)
    assert (value is None) == (fault is not None)
    if value is not None:
        json.dumps(value.model_dump(), ensure_ascii=False).encode()
