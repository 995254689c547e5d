"""Every command through `s3://`, against a real server: hostile, slow, killed, tampered with.

The server is moto's, in a process of its own, behind a proxy that answers 503, loses answers,
breaks them off, changes bytes and pauses.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SECRET = "q4hunter22hunter22hunter22"
SEED = 15
BUCKET = "bucket"

CORPUS = (
    *("generate", "--topics=configs/topics/seeds.jsonl", "--family=topic", "--llm=offline"),
    *("--bind=Generate.generations=1", "--bind=Generate.topics=150"),
    "--bind=Generate.shard_documents=15",
)
TOKENS = (
    *("tokenize", "--tokenizer=bpe", "--bind=Tokenizer.vocab_size=400", "--sequence_length=64"),
    *("--workers=0", "--bind=Tokenize.shard_bytes=8000"),
)
SCORE = ("score", "--llm=offline", "--rounds=6")
RUN = (
    *("pretrain", "--config=configs/model/tiny.gin", "--bind=Model.vocab_size=512"),
    *("--bind=Model.max_length=64", "--bind=Pretrain.batch_size=8", "--bind=Pretrain.tokens=20000"),
    *("--bind=Pretrain.checkpoint_every=8", "--bind=Pretrain.tensorboard=False"),
)


class Server:
    """The server and its proxy; what commands are given to find it."""

    def __init__(self, process: subprocess.Popen[str], cache: Path) -> None:
        assert process.stdout is not None
        self.plain, self.hostile = process.stdout.readline().split()
        self.cache = cache
        self.environment = os.environ | {
            "AWS_ENDPOINT_URL": self.hostile,
            "AWS_ACCESS_KEY_ID": "AKIAQ4HUNTER22",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "SYNTHDIV_CACHE": str(cache),
            "SYNTHDIV_SYNC_S": "0.2",
            "PYTHONPATH": str(ROOT),
        }

    def faults(self, **shares: float) -> None:
        """Sets what goes wrong from now on."""
        self._ask("PUT", json.dumps(shares).encode())

    def done(self) -> dict[str, int]:
        """What went wrong since."""
        return self._ask("GET")

    def _ask(self, method: str, body: bytes | None = None) -> Any:
        asked = urllib.request.Request(f"{self.hostile}/--faults", body, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.loads(answer.read())

    def client(self) -> Any:
        """A client of the server itself."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.plain,
            aws_access_key_id="another",
            aws_secret_access_key="another",
            region_name="us-east-1",
        )

    def objects(self, prefix: str) -> dict[str, bytes]:
        """All below a prefix, by their names there."""
        client, found = self.client(), {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for one in page.get("Contents", []):
                body = client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
                found[one["Key"].removeprefix(prefix)] = body
        return found

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "synthdiv.cli", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """Runs a command to its end; returns what it said, in which no secret is."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=900)
        assert process.returncode == code, said
        assert SECRET not in said
        return said

    def elsewhere(self) -> None:
        """Goes on as another machine: with an empty cache, elsewhere."""
        shutil.rmtree(self.cache, ignore_errors=True)
        self.cache = self.cache.with_name(f"{self.cache.name}1")
        self.environment["SYNTHDIV_CACHE"] = str(self.cache)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for package in ("moto", "flask_cors", "s3fs", "boto3"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install '.[dev]'")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.server"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        found = Server(process, tmp_path / "cache")
        found.client().create_bucket(Bucket=BUCKET)
        yield found
    finally:
        process.kill()
        process.wait()


def texts(parquet: dict[str, bytes]) -> list[dict[str, Any]]:
    """The rows of a corpus's shards."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted(name for name in parquet if name.endswith(".parquet"))
    return [r for n in names for r in pq.read_table(pa.BufferReader(parquet[n])).to_pylist()]


def here(directory: Path) -> dict[str, bytes]:
    """A local directory as `Server.objects` gives one of the store."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def check_list(there: dict[str, bytes]) -> None:
    """Nothing that is listed is missing, half, or another."""
    import hashlib

    if ".synthdiv-objects.json" not in there:
        return
    listed = json.loads(there[".synthdiv-objects.json"])
    for name, one in listed["objects"].items():
        may_be = [one, *listed["before"].get(name, [])]
        digest = {"bytes": len(there[name]), "sha256": hashlib.sha256(there[name]).hexdigest()}
        assert digest in may_be, name


def listed(there: dict[str, bytes]) -> dict[str, bytes]:
    """What of a directory counts."""
    names = json.loads(there.get(".synthdiv-objects.json", b'{"objects": {}}'))["objects"]
    return {name: there[name] for name in names}


def test_the_whole_path_through_a_hostile_store(server: Server, tmp_path: Path) -> None:
    s3, local = f"s3://{BUCKET}", tmp_path / "local"
    server.faults(busy=0.05, lost=0.03, cut=0.03, flip=0.02, slow=0.02, pause_s=0.5)
    given = {
        "corpus": (CORPUS, ()),
        "tokens": (TOKENS, ("--input={}/corpus",)),
        "score": (SCORE, ("--input={}/corpus",)),
        "run": (RUN, ("--bind=Mixture.sources=(('{}/tokens', None),)",)),
    }
    for place in (s3, str(local)):
        for name, (command, inputs) in given.items():
            flag = "workdir" if command is RUN else "output"
            sources = (one.format(place) for one in inputs)
            server.run(*command, f"--{flag}={place}/{name}", *sources)
            if place == s3:
                server.elsewhere()
        server.run(
            *("evaluate", f"--checkpoint={place}/run", f"--corpus={place}/corpus"),
            f"--output={place}/eval/result.json",
        )
    done = server.done()
    print("requests:", done)
    assert all(done.get(kind, 0) > 0 for kind in ("busy", "lost", "cut", "flip", "slow")), done
    server.faults()

    assert texts(server.objects("corpus/")) == texts(here(local / "corpus"))
    tokens, mine = server.objects("tokens/"), here(local / "tokens")
    shards = [name for name in mine if name.endswith(".array_record")]
    assert len(shards) > 3 and all(tokens[name] == mine[name] for name in shards)
    scores = [
        json.loads(found["score.json"])["score"]
        for found in (server.objects("score/"), here(local / "score"))
    ]
    assert scores[0] == scores[1]
    evaluated = [
        json.loads(text)
        for text in (
            server.objects("eval/")["result.json"],
            (local / "eval" / "result.json").read_bytes(),
        )
    ]
    assert evaluated[0]["fingerprint"] == evaluated[1]["fingerprint"]
    assert evaluated[0]["bits_per_byte"] == evaluated[1]["bits_per_byte"]
    assert evaluated[0]["checkpoint"] == f"s3://{BUCKET}/run"
    for prefix in ("corpus/", "tokens/", "score/", "run/"):
        there = server.objects(prefix)
        check_list(there)
        assert SECRET.encode() not in b"".join(there.values())
    assert all(SECRET.encode() not in one for one in here(server.cache).values())


@pytest.mark.parametrize("kind", ["corpus", "tokens", "run"])
def test_kills_at_random_moments_leave_nothing_that_is_taken_for_whole(
    server: Server, tmp_path: Path, kind: str
) -> None:
    s3, chance = f"s3://{BUCKET}", random.Random(SEED)
    server.run(*CORPUS, f"--output={s3}/given")
    server.run(*TOKENS, f"--output={s3}/ready", f"--input={s3}/given")
    command = {
        "corpus": (*CORPUS, f"--output={s3}/killed"),
        "tokens": (*TOKENS, f"--input={s3}/given", f"--output={s3}/killed"),
        "run": (*RUN, f"--bind=Mixture.sources=(('{s3}/ready', None),)", f"--workdir={s3}/killed"),
    }[kind]
    whole = tuple(part.replace("killed", "whole") for part in command)
    began = time.monotonic()
    server.run(*whole)
    lasts = time.monotonic() - began
    kills, looked = 0, 0
    for _ in range(40):
        process = server.start(*command)
        try:
            process.wait(chance.uniform(0.3, 1.0) * lasts)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        there = server.objects("killed/")
        check_list(there)
        looked += bool(listed(there))
        if kind == "corpus" and "manifest.json" not in there:
            said = server.run(*SCORE, f"--input={s3}/killed", f"--output={s3}/no", code=2)
            assert "is not complete" in said or "no corpus" in said
        if process.returncode == 0 or kills >= 6:
            break
        if chance.random() < 0.5:
            server.elsewhere()
            for name in server.objects("killed/.synthdiv-lock/"):  # as after the lease
                server.client().delete_object(Bucket=BUCKET, Key=f"killed/.synthdiv-lock/{name}")
    server.run(*command)
    print("kills:", kills, "states with something in them:", looked)
    assert kills >= 3 and looked
    killed, undisturbed = server.objects("killed/"), server.objects("whole/")
    check_list(killed)
    if kind == "corpus":
        assert texts(listed(killed)) == texts(undisturbed)
    elif kind == "tokens":
        shards = {n: body for n, body in undisturbed.items() if n.endswith(".array_record")}
        assert shards.items() <= listed(killed).items()
    else:
        prints = []
        for name in ("killed", "whole"):
            server.run(
                *("evaluate", f"--checkpoint={s3}/{name}", f"--corpus={s3}/given"),
                f"--output={s3}/{name}.json",
            )
            prints.append(json.loads(server.objects(f"{name}.json")[""])["fingerprint"])
        assert prints[0] == prints[1]


def test_a_changed_object_and_a_used_address_are_told(server: Server, tmp_path: Path) -> None:
    s3, client = f"s3://{BUCKET}", server.client()
    server.run(*CORPUS, f"--output={s3}/corpus")
    shards = [name for name in server.objects("corpus/") if name.endswith(".parquet")]
    content = bytearray(server.objects("corpus/")[shards[0]])
    content[len(content) // 2] ^= 1
    client.put_object(Bucket=BUCKET, Key=f"corpus/{shards[0]}", Body=bytes(content))
    server.elsewhere()
    said = server.run(*SCORE, f"--input={s3}/corpus", f"--output={s3}/score", code=2)
    assert f"{shards[0]} is not what was written there" in said and said.count("\n") == 1
    client.put_object(Bucket=BUCKET, Key="theirs/precious", Body=b"1")
    said = server.run(*CORPUS, f"--output={s3}/theirs", code=2)
    assert "holds what no synthdiv command wrote" in said
    said = server.run(*CORPUS, "--output=s3://nobucket/x", code=2)
    assert "bucket does not exist" in said and said.count("\n") == 1
    first = server.start(*CORPUS, f"--output={s3}/held", "--bind=Generate.generations=60")
    deadline = time.monotonic() + 120
    while "shard-00000.parquet" not in server.objects("held/") and time.monotonic() < deadline:
        time.sleep(0.2)
    said = server.run(*CORPUS, f"--output={s3}/held", "--bind=Generate.generations=60", code=2)
    assert f"process {first.pid} on" in said
    first.terminate()  # as a scheduler does: what was paid for reaches the store
    said, _ = first.communicate(timeout=300)
    assert first.returncode == 75, said
    answers = tmp_path / "answers.sqlite"
    answers.write_bytes(server.objects("held/")["answers.sqlite"])
    with sqlite3.connect(answers) as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone()[0] > 0
    assert not any("lock" in name for name in server.objects("held/"))


def test_a_large_corpus_passes_through_and_is_held_nowhere(server: Server, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    chance = random.Random(SEED)
    for number in range(24):  # 24 x 15 MB that do not compress
        rows = [{"text": chance.randbytes(15_000).hex()} for _ in range(500)]
        file = tmp_path / "shard.parquet"
        pq.write_table(pa.Table.from_pylist(rows), file, compression="none")
        server.client().upload_file(str(file), BUCKET, f"large/shard-{number:05d}.parquet")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from synthdiv.corpora import Corpus, buckets\n"
        "from synthdiv.storage.copies import cache\n"
        "buckets._KEPT, most, size = 0, 0, 0\n"
        f"for number, document in enumerate(Corpus('s3://{BUCKET}/large')):\n"
        "    size += len(document.text)\n"
        "    if number % 100 == 0:\n"
        "        held = (p.stat().st_size for p in cache().rglob('*') if p.is_file())\n"
        "        most = max(most, sum(held))\n"
        "print(size, most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=server.environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    size, disk, memory = map(int, done.stdout.split())
    print(f"{size:,} bytes read; at most {disk:,} on disk and {memory:,} in memory")
    assert size == 24 * 15_000_000
    assert disk < size / 4 and memory < size
    assert not [path for path in server.cache.rglob("*") if path.is_file()]
