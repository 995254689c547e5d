"""The `batch` backend: writes requests as OpenAI Batch files, and reads the answers beside them.

What OpenAI's Batch API and `vllm run-batch` take: one JSON object a line, with a `custom_id` (the
call's key) and the body of a chat completion. Nothing is sent. The run pauses, somebody has the
file answered, and the same command run again finds the answers and goes on.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError
from synthdiv.llm.backends.batch_files import AnswerFiles, RequestFiles
from synthdiv.llm.backends.wire import answer_of, chat_body, failure_of
from synthdiv.llm.config import LLMConfig
from synthdiv.llm.protocol import Answer, BackendError, Call, Deferred, Permanent, Transient

_URL = "/v1/chat/completions"


class BatchBackend:
    """Puts calls into DIRECTORY/batch_STAGE_requests.jsonl; reads batch_STAGE_answers*.jsonl."""

    name = "batch"

    def __init__(self, config: LLMConfig, directory: Path | None) -> None:
        self.model = config.model or ""
        self._stored = directory is not None
        self._directory = directory or Path()
        self._lines = config.batch_lines
        self._mode = "schema" if config.json_mode == "auto" else config.json_mode
        self._extra = config.extra
        self._answers: dict[str, AnswerFiles] = {}
        self._files: dict[str, RequestFiles] = {}
        self._written: set[bytes] = set()  # keys of what is in the files

    def prepare(self) -> None:
        """Refuses to write files where there is no place for them."""
        if not self._stored:
            raise UserError("`backend=batch` needs a directory for its files")

    async def complete(self, call: Call) -> Answer:
        """Returns the answer that lies beside the requests, or defers the call to a file."""
        stage = _word(call.stage)
        if stage not in self._answers:
            self._answers[stage] = AnswerFiles(self._directory, stage)
        found = self._answers[stage].take(call.key)
        if found is not None:
            try:
                return _answer(found)
            except Transient as error:  # it expired, or the server stumbled: ask again
                self._answers[stage].stumbled(call.key, str(error))
            except Permanent:
                self._answers[stage].failed(call.key)
                raise
        if call.key in self._written:
            raise Deferred(f"waits for the answers of the {stage} batch")
        self._written.add(call.key)
        if stage not in self._files:
            self._files[stage] = RequestFiles(self._directory, stage, self._lines)
        # Both OpenAI and vLLM take max_completion_tokens. The temperature is said even where it is
        # 1: a server may have a default of its own, which a model's files bring along.
        body = chat_body(call, self.model, self._mode, True, self._extra)
        body.setdefault("temperature", call.temperature)
        line = {"custom_id": call.key.hex(), "method": "POST", "url": _URL, "body": body}
        self._files[stage].write(json.dumps(line, ensure_ascii=False))
        raise Deferred(f"waits for the answers of the {stage} batch")

    def deferred(self) -> str | None:
        """Finishes the files and says what to do with them."""
        if not self._files:
            return None
        paths = [path for file in self._files.values() for path in file.finish()]
        counted = " and ".join(
            f"{file.written:,} {stage} request{'s' * (file.written > 1)}"
            for stage, file in self._files.items()
        )
        are = "are" if sum(file.written for file in self._files.values()) > 1 else "is"
        pairs = "; ".join(f"{path} -> {_answers_path(path)}" for path in paths)
        command = shlex.join(
            ["vllm", "run-batch", "-i", str(paths[0]), "-o", str(_answers_path(paths[0]))]
            + ["--model", self.model]
        )
        odd = [
            words
            for stage, read in self._answers.items()
            for words in read.odd(stage in self._files)
        ]
        self._files.clear()
        self._written.clear()
        self._answers.clear()
        those = "each file" if len(paths) > 1 else "them" if are == "are" else "it"
        return (
            f"{'; '.join([*odd, counted])} {are} written; have {those} answered"
            f" ({pairs}), by OpenAI's Batch API or as `{command}`"
        )

    async def close(self) -> None:
        for file in self._files.values():
            file.abandon()
        self._files.clear()


def _answer(line: dict[str, Any]) -> Answer:
    response, error = line.get("response"), line.get("error")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    status = status if isinstance(status, int) else 200
    if error or status >= 400:
        said = error or (body.get("error") if isinstance(body, dict) else None) or body or ""
        words = str(said.get("message", "") if isinstance(said, dict) else said)
        failure: BackendError = failure_of(status if status >= 400 else 500, words)
        # A refused line says nothing about the others of its file.
        raise Permanent(words) if isinstance(failure, Permanent) else failure
    return answer_of(body)


def _answers_path(requests: Path) -> Path:
    return requests.with_name(requests.name.replace("_requests", "_answers"))


def _word(stage: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", stage).strip("_") or "all"
