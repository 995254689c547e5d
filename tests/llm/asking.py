"""A process that asks: python asking.py '{"url": ..., "store": ..., "calls": ..., "out": ...}'

Prints "begun" before the first call; writes the values as JSON when all is done. For tests that
kill it, run two of it at once, or search what it leaves behind for keys. Further settings: "first",
the number of the first question; "backoff", seconds before a call is tried again for the first
time; "values", false where the replies are too many to be kept; and "engine", fields of Engine.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from synthdiv import cli
from synthdiv.engine import Engine
from synthdiv.llm import LLMConfig, exchange, open_session
from tests.llm.serving import question


def ask(settings: dict[str, Any]) -> None:
    if "log" in settings:
        logging.basicConfig(filename=settings["log"], level=logging.DEBUG)
    exchange._BACKOFF_S = settings.get("backoff", exchange._BACKOFF_S)
    first, calls = settings.get("first", 0), settings["calls"]
    keep = settings.get("values", True)
    config = LLMConfig(
        backend=settings.get("backend", "openai"),
        model="test",
        base_url=settings["url"],
        concurrency=settings.get("concurrency", 16),
        timeout=settings.get("timeout", 300.0),
        retries=settings.get("retries", 8),
        prices=settings.get("prices"),
        max_cost_usd=settings.get("max_cost_usd"),
    )
    engine = Engine(**settings.get("engine", {}))
    with open_session(config, Path(settings["store"]), engine=engine) as session:
        print("begun", flush=True)
        requests = (question(i, checked=True) for i in range(first, first + calls))
        asking = session.map(session.ask, requests, "asking", calls)
        found = {index: reply for index, reply in asking if keep}
        replies = [found[index] for index in sorted(found)]
        stats = session.stats
    out = {
        "values": [reply.value and reply.value.model_dump() for reply in replies],
        "failures": [reply.failure for reply in replies],
        "stats": stats,
    }
    Path(settings["out"]).write_text(json.dumps(out))


if __name__ == "__main__":
    flags = cli.command(__doc__)
    cli.run(lambda: ask(json.loads(sys.argv[1])), flags, sys.argv[:1])
