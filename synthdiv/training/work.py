"""What decides the result of a run, so that a directory never answers for another run.

Named as it is bound in gin. Left out is what may change from one start to the next without making
it another run: devices and how a step is computed on them, logging, checkpoints, and what happens
to bad batches.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from synthdiv.claims import FINGERPRINT, check_claim, claim, differences
from synthdiv.corpora.sources import find_shards
from synthdiv.data import Batches, ChatTemplate
from synthdiv.errors import UserError
from synthdiv.files import read_json, sha256_file, sha256_text
from synthdiv.model import weights
from synthdiv.training.config import PretrainConfig, SFTConfig

_WHAT = "training run"
_HOW_A_STEP_IS_COMPUTED = ("attention", "scan_layers", "remat", "loss_chunk", "vocab_chunk")
_UPKEEP = (
    "accumulate",
    "on_bad",
    "spike",
    "max_skipped",
    "log_every",
    "max_steps",
    "validation",
    "validate_every",
    "checkpoint_every",
    "keep",
    "tensorboard",
    "wandb",
    "compile_cache",
    "workers",
)

Work = dict[str, Any]


def pretraining(
    config: PretrainConfig, data: Batches, steps: int, checkpoint: Path | None = None
) -> Work:
    """Returns what decides the result of pre-training, from `checkpoint` on if there is one."""
    start: Work = {"command": "pretrain"}
    if checkpoint:
        digest = weights.content_digest(checkpoint)
        start = {"command": "pretrain --init_from", "init_from": digest}
    return (
        start
        | {"steps": steps}
        | settings_of(config)
        | {"tokenizer": data.tokenizer_sha256, "sequence_length": data.sequence_length}
        | {"Mixture.names": list(data.source_names)}
        | {f"Mixture.{name}": source for name, source in data.contents().items()}
    )


def fine_tuning(
    config: SFTConfig, checkpoint: Path, inputs: Sequence[Path], template: ChatTemplate
) -> Work:
    """Returns what decides the result of fine-tuning `checkpoint`; reads all of its files."""
    return (
        {"command": "sft", "init_from": weights.content_digest(checkpoint)}
        | settings_of(config)
        | {"chat template": sha256_text(template.source), "ChatTemplate.system": template.system}
        | {"input": [_content(path) for path in inputs]}
    )


def settings_of(config: PretrainConfig | SFTConfig) -> Work:
    """Returns the settings that decide a run's result, without its data."""
    if isinstance(config, SFTConfig):
        return _settings("SFT", dataclasses.asdict(config))
    model = _named("Model", dataclasses.asdict(config.model), _HOW_A_STEP_IS_COMPUTED)
    return _settings("Pretrain", dataclasses.asdict(config)) | model


def _content(path: Path) -> str:
    files = [sha256_file(shard) for shard in find_shards(path)]
    return files[0] if len(files) == 1 else sha256_text(" ".join(files))


def _settings(scope: str, run: Mapping[str, Any]) -> Work:
    plain = {k: v for k, v in run.items() if not isinstance(v, Mapping)}
    return _named(scope, plain, (*_UPKEEP, *_HOW_A_STEP_IS_COMPUTED)) | _named(
        "Optimizer", run["optimizer"]
    )


def _named(scope: str, values: Mapping[str, Any], without: Sequence[str] = ()) -> Work:
    return {f"{scope}.{name}": v for name, v in values.items() if name not in without}


@contextlib.contextmanager
def claimed(workdir: Path, work: Work) -> Iterator[None]:
    """Holds `workdir` for one run; the first of several processes does so for all.

    Raises:
        UserError: it holds another run, or another process is at work in it.
    """
    check(workdir, work)
    if jax.process_index():
        yield
        return
    with claim(workdir / FINGERPRINT, work, _WHAT):
        yield


def check(workdir: Path, work: Work) -> None:
    """Refuses a directory that holds another run; writes nothing.

    Raises:
        UserError: it does; names what differs.
    """
    check_claim(workdir / FINGERPRINT, work, _WHAT)
    if (workdir / FINGERPRINT).exists() or not (workdir / "run.json").exists():
        return
    # Of a version that kept no fingerprint: what its description says has to agree.
    about = read_json(workdir / "run.json")
    scope = "SFT" if work["command"] == "sft" else "Pretrain"
    before = _settings(scope, about["run"]) | _named("Model", about["model"])
    differing = differences({k: v for k, v in before.items() if k in work}, work)
    if differing:
        raise UserError(
            f"{str(workdir)!r} holds another {_WHAT} ({'; '.join(differing[:3])}): "
            "take another directory, or remove that one"
        )
