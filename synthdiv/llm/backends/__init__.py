"""Who can answer, by name. A backend is one file here; nothing it needs is imported before use.

Other packages add backends as entry points of the group "synthdiv.backends": a callable that is
given the LLMConfig and the directory for the user's files. The offline stand-in is one of them.
"""

from importlib.metadata import entry_points
from pathlib import Path

from synthdiv.errors import UserError, closest
from synthdiv.llm.config import LLMConfig
from synthdiv.llm.protocol import Backend

NAMES = ("openai", "gemini", "batch")
GROUP = "synthdiv.backends"


def known_backends() -> list[str]:
    """Returns the names of all backends, those that other packages add among them."""
    return sorted({*NAMES, *entry_points(group=GROUP).names})


def check_backend(name: str) -> None:
    """Refuses a name that no backend has.

    Raises:
        UserError: names the nearest one, and all.
    """
    if name not in NAMES and name not in (known := known_backends()):
        raise UserError(
            f"no LLM backend {name!r}{closest(name, known)}; there are {', '.join(known)}"
        )


def make_backend(config: LLMConfig, directory: Path | None) -> Backend:
    """Makes the backend that `config` names.

    Args:
        config: who answers.
        directory: where a backend may write files for the user.

    Raises:
        UserError: there is no such backend, or it lacks a model, a key or a package.
    """
    check_backend(config.backend)
    if config.backend not in NAMES:
        return entry_points(group=GROUP)[config.backend].load()(config, directory)
    if not config.model:
        raise UserError(f"`backend={config.backend}` needs `model`: the model's name there")
    if config.backend == "openai":
        from synthdiv.llm.backends.openai import OpenAIBackend

        return OpenAIBackend(config)
    if config.backend == "gemini":
        from synthdiv.llm.backends.gemini import GeminiBackend

        return GeminiBackend(config)
    from synthdiv.llm.backends.batch import BatchBackend

    return BatchBackend(config, directory)
