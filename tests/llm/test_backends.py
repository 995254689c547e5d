"""One contract for all backends: the same questions, over each one's own wire, the same answers."""

import asyncio
import contextlib
import http.server
import importlib.util
import json
import math
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synthdiv.diversity import ScoreConfig
from synthdiv.diversity.schemas import Clustering
from synthdiv.errors import UserError
from synthdiv.llm import Awaiting, LLMConfig, Request, Sampling, Session, fence, open_session
from synthdiv.llm.backends import NAMES, make_backend
from synthdiv.llm.backends.wire import (
    answer_of,
    call_of,
    chat_body,
    completion_of,
    failure_of,
)
from synthdiv.llm.conversation import first_call
from synthdiv.llm.protocol import Answer, Deferred, Permanent, Transient, Usage
from synthdiv.offline.answer import answer_file
from synthdiv.offline.backend import OfflineBackend
from tests.llm.serving import ROOT, environment, question, serving

TEXTS = [
    "Rivers carry water and silt from the mountains down to the sea, and floods feed the fields.",
    "A river floods when rain fills it; the water then spreads silt over the fields.",
    "The violin has four strings and is played with a bow; an orchestra has many violins.",
    "Violin strings are tuned in fifths, and the bow is drawn across the strings.",
]


def clustering(number: int) -> Request:
    """A question of the real clustering step, which the offline judge answers."""
    from synthdiv.diversity.prompts import load_prompts

    texts = TEXTS[number % 4 :] + TEXTS[: number % 4]
    messages = load_prompts(ScoreConfig().prompts).messages(
        "cluster",
        criteria="Topic: what it is about.",
        documents=fence("document", texts),
        count=4,
        explain=True,
    )
    return Request(messages, Clustering, Sampling(seed=number, max_tokens=1000), "clustering")


@contextlib.contextmanager
def stand_in() -> Iterator[int]:
    """The offline stand-in behind real HTTP, speaking OpenAI's and Gemini's formats; its port."""
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "end_to_end" / "llm_server.py")],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


Opener = Callable[[], Session]


@pytest.fixture
def opener(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opener]:
    """Opens sessions of one backend on one store."""
    name: str = request.param
    store = tmp_path / "answers.sqlite"
    with contextlib.ExitStack() as stack:
        if name == "offline":
            config = LLMConfig(backend="offline")
        elif name == "batch":
            config = LLMConfig(backend="batch", model="test")
        else:
            if name == "gemini":
                pytest.importorskip("google.genai")
                monkeypatch.setenv("GEMINI_API_KEY", "none")
            port = stack.enter_context(stand_in())
            url = f"http://127.0.0.1:{port}" + ("/v1" if name == "openai" else "")
            config = LLMConfig(backend=name, model="test", base_url=url, concurrency=4)
        yield lambda: open_session(config, store)


def ask(opener: Opener, requests: list[Request]) -> tuple[list, dict]:
    """Asks; where the backend writes a batch file, has it answered out of band and asks again."""
    with opener() as session:
        try:
            return session.ask_all(requests), session.stats
        except Awaiting as pause:
            assert session.backend == "batch"
            files = re.findall(r"/\S+_requests\.jsonl", str(pause))
    for file in files:
        answer_file(Path(file), Path(file.replace("_requests", "_answers")))
    with opener() as session:
        return session.ask_all(requests), session.stats


@pytest.mark.parametrize("opener", NAMES, indirect=True)
def test_every_backend_keeps_the_contract(opener: Opener, tmp_path: Path) -> None:
    requests = [clustering(i) for i in range(5)] + [clustering(0)]
    with open_session(LLMConfig(), tmp_path / "offline.sqlite") as session:
        expected = session.ask_all(requests)
    replies, stats = ask(opener, requests)
    assert [reply.failure for reply in replies] == [None] * 6
    # Through every wire the stand-in is told the same: messages, schema, sampling and seed.
    assert [reply.value for reply in replies] == [reply.value for reply in expected]
    for reply in replies:
        assert isinstance(reply.value, Clustering)
        assert json.loads(reply.text)
        assert reply.finish_reason == "stop"
        assert reply.usage.input > 0 and reply.usage.output > 0
    assert stats["calls"]["sent"] == 5 and stats["calls"]["failed"] == 0
    assert stats["tokens"]["input"] == sum(reply.usage.input for reply in replies[:5])
    # And a second time nothing is asked.
    again, stats = ask(opener, requests)
    assert [reply.text for reply in again] == [reply.text for reply in replies]
    assert all(reply.cached for reply in again)
    assert stats["calls"]["sent"] == 0


@pytest.mark.parametrize("opener", ["offline", "batch"], indirect=True)
def test_what_the_stand_in_cannot_answer_is_a_failure_in_words(opener: Opener) -> None:
    (refused,), stats = ask(opener, [question(1)])
    assert refused.failure == "offline backend cannot answer Groups"
    assert refused.value is None and stats["calls"]["failed"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_backend_is_small_and_says_what_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "gemini" and importlib.util.find_spec("google") is None:
        pytest.skip("google-genai is not installed")
    monkeypatch.setenv("GEMINI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    backend = make_backend(LLMConfig(backend=name, model="some-model"), tmp_path)
    assert backend.name == name
    assert backend.model == ("offline-stand-in (not an LLM)" if name == "offline" else "some-model")
    source = Path(sys.modules[type(backend).__module__].__file__)
    assert len(source.read_text().splitlines()) < 150
    asyncio.run(backend.close())


@pytest.mark.usefixtures("impatient")
def test_gemini_over_the_fault_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("google.genai")
    monkeypatch.setenv("GEMINI_API_KEY", "none")
    faults = {"429": 0.1, "500": 0.1, "drop": 0.1, "half_body": 0.05, "code": 0.1, "empty": 0.1}
    with serving(faults=faults, seed=3) as server:
        config = server.config(backend="gemini", base_url=f"http://127.0.0.1:{server.port}")
        with open_session(config, tmp_path / "a.sqlite") as session:
            replies = session.ask_all([question(i) for i in range(40)])
            counts = session.stats["calls"]
        assert sum(reply.failure is None for reply in replies) >= 35
        assert counts["retried"] > 5 and counts["repaired"] > 2
        seen = server.seen()
        assert set(seen["answered"].values()) == {1}
        # Caps and costs count what is sent, so no SDK may send anything by itself.
        assert seen["met"]["drop"] > 2
        assert sum(seen["asked"].values()) == counts["sent"] + counts["retried"]
        server.change(says="It would not be right.", finish="content_filter", faults={})
        with open_session(config, tmp_path / "a.sqlite") as session:
            (refused,) = session.ask_all([question(99)])
        assert refused.failure == "the model refused: It would not be right."


def test_the_wire_both_ways() -> None:
    whom = ("batch", "m")
    call = first_call(clustering(3), whom)
    for hosted in (True, False):
        there = call_of(json.loads(json.dumps(chat_body(call, "m", "schema", hosted))))
        assert there.messages == tuple(dict(m) for m in call.messages)
        assert there.schema == call.schema
        assert (there.temperature, there.seed, there.max_tokens) == (1.0, 3, 1000)
    told = Answer('{"a": 1}', Usage(10, 4, 3), "length")
    assert answer_of(json.loads(json.dumps(completion_of(told, "m")))) == told


def test_a_strict_schema_only_where_strict_mode_takes_it() -> None:
    call = first_call(question(1), ())
    asked = chat_body(call, "gpt-4o", "schema", True)["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["name"] == "Groups" and asked["json_schema"]["strict"] is True
    assert "max_completion_tokens" in chat_body(call, "m", "schema", True)
    assert "max_tokens" in chat_body(call, "m", "schema", False)
    assert "temperature" not in chat_body(call, "m", "schema", True)
    assert chat_body(call, "m", "off", False, {"top_k": 5})["top_k"] == 5


@pytest.mark.parametrize("body", [None, "half", {}, {"choices": []}, {"error": "no"}, [1]])
def test_what_is_no_completion_may_pass(body: object) -> None:
    with pytest.raises(Transient) as failure:
        answer_of(body)
    assert failure.value.lost


def test_what_statuses_mean() -> None:
    assert isinstance(failure_of(500, ""), Transient)
    assert failure_of(503, "").overloaded and not failure_of(500, "").overloaded
    assert failure_of(429, "", {"retry-after": "7"}).retry_after == 7
    assert failure_of(429, "", {"retry-after-ms": "1500"}).retry_after == 1.5
    assert failure_of(429, "", {"retry-after": "soon"}).retry_after == 0
    assert failure_of(429, "", {"retry-after": "nan"}).retry_after == 0
    assert failure_of(429, "", {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}).retry_after == 0
    assert failure_of(401, "").everywhere and not failure_of(400, "").everywhere
    quota = failure_of(429, "out of money", code="insufficient_quota")
    assert isinstance(quota, Permanent) and quota.everywhere


def test_batch_files_are_what_openai_and_vllm_read(tmp_path: Path) -> None:
    backend = make_backend(LLMConfig(backend="batch", model="m", batch_lines=3), tmp_path)
    whom = ("batch", "m")
    calls = [first_call(clustering(i), whom) for i in range(4)]
    calls += [first_call(clustering(i + 4), whom) for i in range(4)]

    async def put() -> None:
        for call in calls:
            with pytest.raises(Deferred):
                await backend.complete(call)

    asyncio.run(put())
    assert not list(tmp_path.glob("batch_*")), "files appear whole or not at all"
    words = backend.deferred()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"batch_clustering_requests{n}.jsonl" for n in ("", "_2", "_3")]
    assert "8 clustering requests" in words and "batch_clustering_answers_3.jsonl" in words
    lines = [
        json.loads(line) for file in files for line in (tmp_path / file).read_text().splitlines()
    ]
    assert len(lines) == 8 and len({line["custom_id"] for line in lines}) == 8
    for line in lines:
        assert set(line) == {"custom_id", "method", "url", "body"}
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
        assert len(line["custom_id"]) <= 64
        assert line["body"]["model"] == "m" and line["body"]["response_format"]
        assert line["body"]["temperature"] == 1.0, "a server may have another default"


def test_answers_of_a_batch_that_failed_or_are_no_answers(tmp_path: Path) -> None:
    config = LLMConfig(backend="batch", model="m")
    call = first_call(clustering(1), ("batch", "m"))
    answers = tmp_path / "batch_clustering_answers.jsonl"

    def told(**line: object) -> object:
        answers.write_text(json.dumps({"custom_id": call.key.hex()} | line) + "\n")
        backend = make_backend(config, tmp_path)
        try:
            return asyncio.run(backend.complete(call))
        finally:
            asyncio.run(backend.close())

    with pytest.raises(Deferred):  # expired: it is asked again
        told(response=None, error={"code": "batch_expired", "message": "too late"})
    with pytest.raises(Deferred):
        told(response={"status_code": 500, "body": {"error": {"message": "oops"}}}, error=None)
    with pytest.raises(Permanent, match="too long"):
        told(response={"status_code": 400, "body": {"error": {"message": "too long"}}}, error=None)
    good = asyncio.run(OfflineBackend().complete(call))
    body = completion_of(good, "m")
    assert told(response={"status_code": 200, "body": body}, error=None) == good
    answers.write_text("this is no JSON\n")
    with pytest.raises(Exception, match="line 1: not an answer"):
        asyncio.run(make_backend(config, tmp_path).complete(call))


def test_a_pause_repeats_what_a_batch_says_of_its_errors(tmp_path: Path) -> None:
    call = first_call(clustering(1), ("batch", "m"))
    line = {"custom_id": call.key.hex(), "response": None, "error": {"message": "no such model"}}
    (tmp_path / "batch_clustering_answers.jsonl").write_text(json.dumps(line))
    backend = make_backend(LLMConfig(backend="batch", model="m"), tmp_path)
    with pytest.raises(Deferred):
        asyncio.run(backend.complete(call))
    said = backend.deferred() or ""
    assert "1 of 1 answers" in said and "no such model" in said
    assert "1 clustering request is written" in said


def test_a_pause_counts_answers_that_are_of_no_use(tmp_path: Path) -> None:
    config = LLMConfig(backend="batch", model="m")
    calls = [first_call(clustering(i), ("batch", "m")) for i in range(4)]
    answers = tmp_path / "batch_clustering_answers.jsonl"
    refused = {"status_code": 400, "body": {"error": {"message": "too long"}}}

    def paused(*keys: bytes) -> str:
        lines = [json.dumps({"custom_id": key.hex(), "response": refused}) for key in keys]
        answers.write_text("\n".join(lines))
        backend = make_backend(config, tmp_path)

        async def ask() -> None:
            for call in calls:
                with pytest.raises(Permanent if call.key in keys else Deferred):
                    await backend.complete(call)

        asyncio.run(ask())
        return backend.deferred() or ""

    odd = [bytes([n]) * 32 for n in range(3)]
    assert f"none of 3 answers in {answers} belongs to these requests" in paused(*odd)
    said = paused(calls[0].key, calls[1].key, *odd)
    assert f"only 2 of 5 answers in {answers} belong to these requests" in said
    assert f"2 of 5 answers in {answers} failed for good; 2 clustering requests are written" in said
    assert paused(calls[0].key).startswith(
        f"1 of 1 answers in {answers} failed for good; 3 clustering"
    )
    answers.unlink()
    answers.mkdir()
    with pytest.raises(UserError, match=r"batch_clustering_answers.jsonl cannot be read: Is a dir"):
        asyncio.run(make_backend(config, tmp_path).complete(calls[0]))


class _Models(http.server.BaseHTTPRequestHandler):
    """A server that has two models, below /v1, and knows no other address."""

    offered = ("qwen3-8b", "llama-3.1-8b-instruct")

    def do_GET(self) -> None:  # noqa: N802  the name that http.server calls
        known = self.path == "/v1/models"
        self._send(200 if known else 404, {"data": [{"id": name} for name in self.offered]})

    def do_POST(self) -> None:  # noqa: N802
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(404, {"error": {"message": "Not Found"}})

    def _send(self, status: int, content: object) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def models() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Models)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "the server answers below /v1: `base_url=http://127.0.0.1:[0-9]+/v1`$"),
        ("/v1", "offers llama-3.1-8b-instruct, qwen3-8b; did you mean 'qwen3-8b'"),
    ],
)
def test_a_wrong_address_and_a_wrong_model_are_told(models: str, path: str, said: str) -> None:
    config = LLMConfig(backend="openai", model="qwen3-8B-chat", base_url=models + path)
    with open_session(config, None) as session, pytest.raises(UserError, match=said):
        session.ask_all([question(1)])


def test_a_server_that_is_not_there_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        config = LLMConfig(
            backend="openai", model="m", base_url=url, concurrency=1, retries=1, patience=30.0
        )
        with open_session(config, None) as session:
            replies = session.ask_all([question(1), question(2)])
    assert all("no answer from" in str(reply.failure) for reply in replies)
    said = [line for line in capsys.readouterr().err.splitlines() if url in line]
    assert len(said) == 1 and "trying on for 30 s" in said[0]


@pytest.mark.parametrize("backend", ["openai", "gemini", "batch"])
def test_a_plan_needs_neither_key_nor_sdk(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for module in ("google.genai", "google.generativeai"):
        monkeypatch.setitem(sys.modules, module, None)
    config = LLMConfig(backend=backend, model="gpt-4o-mini")
    with open_session(config, None, asking=False) as session:
        assert session.plan({"grouping": [question(1), question(2)]}).calls == 2
    with pytest.raises(UserError, match="needs"):
        open_session(config, None)


@pytest.mark.parametrize(
    "values",
    [
        {"base_url": "http://host:99999/v1"},
        {"base_url": "http://[::1"},
        {"base_url": "http://host/v1\n"},
        {"base_url": "http://user:pa ss@host/v1"},
        {"base_url": "localhost:8000"},
        {"base_url": "http://"},
        *({name: value} for name in ("max_cost_usd", "max_calls") for value in (-1, math.nan)),
        *(
            {name: value}
            for name in ("requests_per_minute", "tokens_per_minute", "timeout", "patience")
            for value in (0, -1, math.nan, math.inf)
        ),
        {"max_cost_usd": math.inf},
        {"retries": -1},
        {"batch_lines": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(UserError, match=name) as refusal:
        LLMConfig(backend="openai", model="m", **values)
    assert "pa ss" not in str(refusal.value) and "\n" not in str(refusal.value)
