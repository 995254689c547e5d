"""Answers a batch file with the offline stand-in: python -m synthdiv.offline.answer IN OUT

It does what OpenAI's Batch API or `vllm run-batch` does with a real model, so that working with
batch files can be shown and tested without a network. It is no LLM.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError
from synthdiv.llm.backends.wire import call_of, completion_of
from synthdiv.llm.protocol import Permanent
from synthdiv.offline.backend import OfflineBackend


def answer_file(requests: Path, answers: Path) -> int:
    """Answers every request of an OpenAI Batch file and returns how many there were.

    Args:
        requests: the file to read.
        answers: the file to write; it appears when it is complete.

    Raises:
        UserError: `requests` is missing or not such a file.
    """
    part = answers.with_name(f".{answers.name}.part")
    count = 0
    try:
        with requests.open(encoding="utf-8") as asked, part.open("w", encoding="utf-8") as told:
            for line in asked:
                if line.strip():
                    reply = asyncio.run(_answer(json.loads(line)))
                    told.write(json.dumps(reply, ensure_ascii=False) + "\n")
                    count += 1
    except (OSError, ValueError, KeyError, TypeError) as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot answer {requests}: {error}") from error
    os.replace(part, answers)
    return count


async def _answer(line: dict[str, Any]) -> dict[str, Any]:
    backend = OfflineBackend()
    try:
        answer = await backend.complete(call_of(line["body"]))
    except Permanent as refusal:
        status, body = 400, {"error": {"message": str(refusal)}}
    else:
        status, body = 200, completion_of(answer, backend.model)
    return {
        "id": line["custom_id"],
        "custom_id": line["custom_id"],
        "response": {"status_code": status, "request_id": line["custom_id"], "body": body},
        "error": None,
    }


def main() -> None:
    """Answers the file that the first argument names, into the second."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m synthdiv.offline.answer REQUESTS.jsonl ANSWERS.jsonl")
    try:
        count = answer_file(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{count:,} requests answered by a stand-in that is not an LLM: {sys.argv[2]}")


if __name__ == "__main__":
    main()
