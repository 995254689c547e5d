"""Processes that work for another one, and end when that ends, however it ends."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial


def end_with_parent() -> None:
    """Has this process end with the one that started it: a killed one cannot tell its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was not started by another one"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def worker_pool(processes: int, begin: Callable[..., None], *given: object) -> ProcessPoolExecutor:
    """Returns workers that end with this process.

    Args:
        processes: how many.
        begin: what each calls first, with what is `given`.
    """
    # Not fork: the caller may have started threads, such as JAX's, which do not survive it.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, spawn, partial(_begin, begin, *given))


def _begin(begin: Callable[..., None], *given: object) -> None:
    end_with_parent()
    begin(*given)
