"""Fetches models and tokenizers from the Hugging Face hub, or finds them in its cache.

HF_ENDPOINT names another server, HF_HOME the cache, HF_HUB_OFFLINE=1 leaves it at the cache.
"""

import contextlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from synthdiv.errors import UserError, first_line

_HUB = "https://huggingface.co"
_PATIENCE_S = 5.0  # until a hub that says nothing is taken for one that is away
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_CHECKPOINT = (*_TOKENIZER, "config.json", "generation_config.json", "*.safetensors*")


def find_tokenizer(name: str | Path) -> Path:
    """Returns where a tokenizer lies: `name` itself, or a copy of the hub's NAME or ORG/NAME.

    Raises:
        UserError: there is neither.
    """
    return _find(name, "tokenizer", _TOKENIZER)


def find_checkpoint(name: str | Path) -> Path:
    """Returns where a model lies: `name` itself, or a copy of the hub's ORG/NAME.

    Raises:
        UserError: there is neither.
    """
    if "/" not in str(name):
        return Path(name)
    return _find(name, "checkpoint", _CHECKPOINT)


def _find(name: str | Path, what: str, files: Sequence[str]) -> Path:
    path = Path(name)
    if path.exists() or not _could_be_on_a_hub(name):
        return path
    try:
        import huggingface_hub
    except ImportError:
        return path
    silent = why_silent()
    try:
        return Path(
            huggingface_hub.snapshot_download(
                str(name), allow_patterns=list(files), local_files_only=silent is not None
            )
        )
    except Exception as error:
        reason = silent or first_line(error)
        raise UserError(f"no {what} {str(name)!r} here, and none from the hub: {reason}") from error


def _could_be_on_a_hub(name: str | Path) -> bool:
    """Whether a name that is no path here is one of a repository, not a path with a slip."""
    text = str(name)
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(text):
        return False
    local = "/" in text and Path(text).parts[0]
    return not (local and Path(local).exists()) and Path(text).suffix not in (".json", ".model")


def fetch_file(repository: str, file: str, kind: str, revision: str | None = None) -> Path:
    """Returns a local copy of one file of a repository.

    Args:
        repository: ORG/NAME.
        file: its path there.
        kind: "model" or "dataset".
        revision: branch, tag or commit; None for the newest.

    Raises:
        UserError: it cannot be had.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(
            f"{repository} needs huggingface_hub: pip install 'synthdiv[hub]'"
        ) from None
    silent = why_silent()
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                repository,
                file,
                repo_type=kind,
                revision=revision,
                local_files_only=silent is not None,
            )
        )
    except Exception as error:
        reason = silent or first_line(error)
        raise UserError(f"no file {file!r} of {repository} from the hub: {reason}") from error


def fetch_place(place: str) -> Path:
    """Returns a local copy of a repository, or of a file or directory in one.

    Args:
        place: `[datasets/]ORG/NAME[@REVISION][/PATH]`.

    Raises:
        UserError: there is none, or it cannot be had.
    """
    kind = "dataset" if place.startswith("datasets/") else "model"
    organization, _, rest = place.removeprefix("datasets/").partition("/")
    name, _, within = rest.partition("/")
    name, _, revision = name.partition("@")
    try:
        import huggingface_hub
    except ImportError:
        raise UserError("hf:// needs huggingface_hub: pip install 'synthdiv[hub]'") from None
    silent = why_silent()
    try:
        folder = huggingface_hub.snapshot_download(
            f"{organization}/{name}",
            repo_type=kind,
            revision=revision or None,
            allow_patterns=[within, f"{within}/*"] if within else None,
            local_files_only=silent is not None,
        )
    except Exception as error:
        raise UserError(f"hf://{place} cannot be had: {silent or first_line(error)}") from error
    path = Path(folder, within)
    if not path.exists():
        raise UserError(f"nothing is at hf://{place}")
    return path


def why_silent() -> str | None:
    """Returns in words why nothing but the hub's cache can be used; None where the hub answers.

    The hub's libraries would find out themselves, in half a minute and with a line for every try.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE leaves it at the cache, which has none"
    address = os.environ.get("HF_ENDPOINT") or _HUB
    asked = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(asked, timeout=_PATIENCE_S):
            return None
    except urllib.error.HTTPError:
        return None  # whatever it says of its front page, it answers
    except OSError:
        return f"{address} does not answer, and its cache has none"


@contextlib.contextmanager
def from_cache() -> Iterator[None]:
    """Lets `datasets` look nowhere but into its cache, as HF_HUB_OFFLINE=1 does from the start."""
    import datasets
    import huggingface_hub

    with (
        mock.patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True),
        mock.patch.object(datasets.config, "HF_HUB_OFFLINE", True),
    ):
        yield
