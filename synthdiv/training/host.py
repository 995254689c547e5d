"""Settings of the process and its host that make training fast: compiled programs, memory.

They only work before JAX starts its threads, so a run begins with them.
"""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import jax

from synthdiv.model.devices import check_devices

_jax: Any = jax.config  # JAX makes its attributes when it is imported, so none has a type

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def prepare(compile_cache: str | Path) -> None:
    """Applies the settings.

    Args:
        compile_cache: directory for compiled programs; "auto" for the user's cache directory, ""
            for none.

    Raises:
        UserError: the devices that JAX_PLATFORMS asks for are not there.
    """
    _keep_compiled(compile_cache)
    if _only_cpu():
        _keep_freed_memory()
    check_devices()


def _keep_compiled(directory: str | Path) -> None:
    """Keeps compiled programs on disk, so that the next run of the same shapes starts fast."""
    if not directory or _jax.jax_compilation_cache_dir:
        return
    if directory == "auto":
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        directory = str(Path(home) / "synthdiv" / "xla")
    _jax.update("jax_compilation_cache_dir", str(directory))
    _jax.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    _jax.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _only_cpu() -> bool:
    """Says whether JAX will run on the CPU, without starting it."""
    platforms = _jax.jax_platforms
    if platforms:
        return platforms.split(",")[0] == "cpu"
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "libtpu", "jax_rocm7_plugin")
    return not any(importlib.util.find_spec(name) for name in plugins)


def _keep_freed_memory() -> None:
    """Makes malloc keep the memory that it got from the system.

    On the CPU every step allocates all its activations anew. By default glibc returns such large
    blocks to the system at once, and the next step faults them in again page by page, which takes a
    third of a step of small models. Without glibc, nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
