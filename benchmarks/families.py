"""What the prompt families, numbers of topics, sources and writers make of 2,000 topics.

    python benchmarks/families.py --topics=TOPICS --pages=PAGES [--documents=2000]

TOPICS is a list of 2,000 topics or more (`synthdiv topics` takes it in), PAGES a corpus of real
documents. The offline writer writes corpora of equally many texts, and the offline judge scores
them, each by the documented commands. Prints a table: tokens, and scores with their intervals, in
the order in which diversity was planted. The collapsed writer is a server that has four replies
for each form of reply.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthdiv.llm.backends.wire import call_of, completion_of
from synthdiv.offline.backend import OfflineBackend

TOPICS = 2000
FEW = 20  # topics where families and writers are compared
REPLIES = 4  # of the collapsed writer, for each form of reply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topics", type=Path, help="what `synthdiv topics` reads")
    parser.add_argument("--pages", type=Path, help="a corpus of real documents")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif not options.topics or not options.pages:
        parser.error("--topics and --pages are needed")
    else:
        with tempfile.TemporaryDirectory() as directory, collapsed_writer() as url:
            show(measure(options, Path(directory), url))


def measure(options: argparse.Namespace, directory: Path, url: str) -> list[dict[str, Any]]:
    topics = directory / "topics.jsonl"
    run("topics", f"--input={options.topics}", f"--output={topics}")
    writer = f"'openai:collapsed@{url}/v1'"

    def family(name: str, count: int, *more: str) -> list[str]:
        each = options.documents // count
        return [f"--topics={topics}", f"--config=configs/generate/{name}.gin",
                f"--bind=Generate.topics={count}", f"--bind=Generate.generations={each}",
                "--bind=Generate.token_budget=0", *more]  # fmt: skip

    def rephrased(count: int) -> list[str]:
        pages = directory / f"pages{count}.jsonl"
        with options.pages.open() as lines:
            pages.write_text("".join(itertools.islice(lines, count)))
        return [f"--sources={pages}", "--family=rephrase",
                f"--bind=Generate.generations={options.documents // count}"]  # fmt: skip

    best = "topic_styles_persona"
    planted = {
        "topics x generations": {
            f"{count} x {options.documents // count}": family("topic", count)
            for count in (5, 20, 100, TOPICS)
        },
        f"families, {FEW} topics": {
            name: family(name, FEW)
            for name in ("topic", "topic_styles", best, "multi_topic_styles_persona")
        },
        "rephrased pages": {f"{count} pages": rephrased(count) for count in (5, 20, 200)},
        f"writers, {FEW} topics": {
            "collapsed": family(best, FEW, f"--bind=Generate.writers={{{writer}: 1}}"),
            "mixed, 1 to 1": family(
                best, FEW, f"--bind=Generate.writers={{{writer}: 1, 'offline:': 1}}"
            ),
            "offline": family(best, FEW),
        },
    }
    rows = []
    for number, (group, corpora) in enumerate(planted.items()):
        for place, (name, flags) in enumerate(corpora.items()):
            corpus, scored = directory / f"{number}{place}", directory / f"{number}{place}-score"
            run("generate", f"--output={corpus}", "--llm=offline", *flags)
            run("score", f"--input={corpus}", f"--output={scored}", "--llm=offline",
                "--config=configs/score/quickstart.gin")  # fmt: skip
            manifest = json.loads((corpus / "manifest.json").read_text())
            score = json.loads((scored / "score.json").read_text())
            rows.append({"group": group, "name": name, "manifest": manifest, "score": score})
            print(f"{group}: {name}", file=sys.stderr)
    return rows


def run(command: str, *flags: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"synthdiv.{command}", *flags], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{command} {' '.join(flags)}\n{done.stderr}")


def show(rows: list[dict[str, Any]]) -> None:
    print("| planted | corpus | texts | tokens read | written | of text | score, 95% interval |")
    print("|---|---|---:|---:|---:|---:|---|")
    for row in rows:
        manifest, paid = row["manifest"], row["manifest"]["usage"]["tokens"]
        score = row["score"]["score"]
        low, high = score["ci95"]
        print(
            f"| {row['group']} | {row['name']} | {manifest['documents']:,} | {paid['input']:,}"
            f" | {paid['output']:,} | {manifest['tokens']['estimated']:,}"
            f" | {score['mean']:.2f}, {low:.2f} to {high:.2f} |"
        )


@contextlib.contextmanager
def collapsed_writer() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


async def serve() -> None:
    """Answers with the offline writer's first replies of each form, over and over."""
    backend, known, turns = OfflineBackend(), defaultdict(list), itertools.count()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                replies = known[json.dumps(body.get("response_format"), sort_keys=True)]
                if len(replies) < REPLIES:
                    completion = completion_of(await backend.complete(call_of(body)), "collapsed")
                    replies.append(json.dumps(completion).encode())
                content = replies[next(turns) % len(replies)]
                head_line = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                writer.write(f"{head_line}Content-Length: {len(content)}\r\n\r\n".encode())
                writer.write(content)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 20)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    main()
