"""Chunks of documents examined by several processes, each of which writes its findings itself."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from synthdiv.curation.examine import Examiner
from synthdiv.processes import worker_pool

_HERE = 2  # chunks that are examined in this process before others are started

_examiner: Examiner | None = None


def _start_worker(examiner: Examiner) -> None:
    global _examiner
    _examiner = examiner


def _examine(number: int, texts: list[bytes]) -> int:
    assert _examiner is not None, "the worker was not started by _start_worker"
    _examiner.examine(number, [text.decode("utf-8", "surrogatepass") for text in texts])
    return len(texts)


def examine_chunks(
    examiner: Examiner, chunks: Iterable[tuple[int, list[str]]], workers: int | None
) -> Iterator[int]:
    """Examines numbered chunks and yields how many documents each had, as they are done.

    Args:
        examiner: what looks at them.
        chunks: read as they are needed, so that memory stays flat.
        workers: processes; 0 for none; None for one a core where there are several chunks.
    """
    here = 0 if workers else _HERE
    processes = (os.cpu_count() or 1) if workers is None else workers
    pool: ProcessPoolExecutor | None = None
    pending: deque[Future[int]] = deque()
    try:
        for count, (number, texts) in enumerate(chunks):
            if not processes or count < here:
                examiner.examine(number, texts)
                yield len(texts)
                continue
            if pool is None:
                pool = worker_pool(processes, _start_worker, examiner)
            encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
            pending.append(pool.submit(_examine, number, encoded))
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
