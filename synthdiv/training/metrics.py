"""What a run measures, and where it is written: metrics.jsonl, TensorBoard, Weights & Biases."""

import contextlib
import dataclasses
import importlib.util
import json
import math
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from synthdiv.data import Batches
from synthdiv.errors import UserError
from synthdiv.files import write_text
from synthdiv.progress import Progress, say
from synthdiv.training.flops import mfu
from synthdiv.training.step import StepConfig


class Diverged(UserError):
    """The loss or the gradient became unusable, and training must not continue from it."""


@dataclasses.dataclass
class Pending:
    """A step that was dispatched and has not been reported yet."""

    number: int  # updates made, this one included
    position: dict[str, Any]  # in the data, after its batch
    metrics: dict[str, jax.Array]


class Clock:
    """Wall time of a run, and how much of it did not go into steps."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.lost = 0.0
        self._window = self.start
        self._window_lost = 0.0

    @contextlib.contextmanager
    def losing(self) -> Iterator[None]:
        """Counts the time inside as lost to steps."""
        before = time.monotonic()
        try:
            yield
        finally:
            self.lost += time.monotonic() - before

    def goodput(self) -> float:
        """Returns the share of the time so far that went into steps."""
        return 1 - self.lost / max(time.monotonic() - self.start, 1e-9)

    def lap(self) -> float:
        """Returns the seconds that went into steps since the last call."""
        now = time.monotonic()
        seconds = now - self._window - (self.lost - self._window_lost)
        self._window, self._window_lost = now, self.lost
        return max(seconds, 1e-9)


class Reporter:
    """Fetches the metrics of finished steps and writes them down.

    Args:
        config: what the step is compiled for.
        batches: the run's data.
        log: where figures go; None in all processes but the first.
        bar: the run's progress.
        clock: the run's time.
        steps: the length of the run.
        max_skipped: updates in a row that may be left out.
        skipped: updates left out before the run resumed, `total` and `in_a_row`.
    """

    def __init__(
        self,
        config: StepConfig,
        batches: Batches,
        log: "MetricsLog | None",
        bar: Progress,
        clock: Clock,
        steps: int,
        max_skipped: int,
        skipped: dict[str, int],
    ) -> None:
        self._config, self._batches, self._log = config, batches, log
        self._bar, self._clock, self._steps = bar, clock, steps
        self._max_skipped = max_skipped
        self.skipped = dict(skipped)
        self.reported = 0
        self.last: dict[str, Any] = {}

    def report(self, pending: list[Pending], more: dict[str, Any] | None = None) -> None:
        """Logs a stretch of steps.

        Args:
            pending: the steps.
            more: figures that were measured after the last of them.

        Raises:
            Diverged: one of them was bad and the run is to stop, or too many in a row were; names
                the step and its data.
        """
        if not pending:
            return
        fetched = jax.device_get([p.metrics for p in pending])
        for step, metrics in zip(pending, fetched, strict=True):
            self._judge(step, metrics)
        batches, number = self._batches, pending[-1].number
        read = batches.contributed(pending[-1].position)
        tokens_a_step = batches.batch_size * batches.sequence_length
        speed = len(pending) * tokens_a_step / self._clock.lap()
        figures = summarize(fetched, batches.source_names) | {
            "tokens": number * tokens_a_step,
            "tokens_per_second": speed,
            "mfu": mfu(self._config.model, batches.sequence_length, speed, jax.devices()),
            "goodput": self._clock.goodput(),
            "epochs": {k: v["epochs"] for k, v in read.items()},
            "seconds": time.monotonic() - self._clock.start,
        }
        figures |= more or {}
        if self._log is not None:
            self._log.write(number, figures)
        self.reported += len(pending)
        self.last = figures
        self._bar.update(len(pending), loss=f"{figures['loss']:.3f}", tokens_s=f"{speed:,.0f}")

    def _judge(self, step: Pending, metrics: dict[str, Any]) -> None:
        if not metrics["bad"]:
            self.skipped["in_a_row"] = 0
            return
        found = (
            f"step {step.number} of {self._steps} has loss {metrics['loss']:.4g} and gradient norm "
            f"{metrics['grad_norm']:.4g}; its batch ends at data position {step.position}"
        )
        if self._config.on_bad == "stop":
            raise Diverged(
                f"{found}; nothing of it was saved. Set on_bad='skip' to leave such batches out, "
                "or lower the learning rate in another `workdir`"
            )
        self.skipped = {name: count + 1 for name, count in self.skipped.items()}
        if self.skipped["in_a_row"] > self._max_skipped:
            raise Diverged(
                f"{found}; it is number {self.skipped['in_a_row']} in a row whose update was left "
                f"out, and max_skipped is {self._max_skipped} (left out in all: "
                f"{self.skipped['total']}). Lower the learning rate in another `workdir`"
            )


def summarize(steps: list[dict[str, Any]], source_names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the figures of a stretch of steps from their metrics, fetched to the host.

    `loss` is the mean over the tokens of the stretch's good steps, in nats, in all and by source;
    `bits_per_byte` appears for sources whose bytes are known; norms and the learning rate are the
    last step's.
    """
    usable = [step for step in steps if not step["bad"]] or steps
    figures = losses(usable, source_names)
    for name in ("grad_norm", "param_norm", "learning_rate"):
        figures[name] = float(steps[-1][name])
    skipped = int(sum(bool(step["bad"]) for step in steps))
    if skipped:
        figures["bad_steps"] = skipped
    return figures


def losses(read: list[dict[str, Any]], source_names: tuple[str, ...]) -> dict[str, Any]:
    """Returns `loss`, that of each source, and `bits_per_byte`, from sums by source.

    Args:
        read: `nll`, `tokens` and `bytes` by source, of each batch.
        source_names: of those sums.
    """
    nll, tokens, size = (
        np.asarray(np.sum([each[name] for each in read], axis=0, dtype=np.float64))
        for name in ("nll", "tokens", "bytes")
    )
    figures: dict[str, Any] = {"loss": _ratio(nll.sum(), tokens.sum())}
    if size.sum():
        figures["bits_per_byte"] = _ratio(nll[size > 0].sum() / math.log(2), size.sum())
    for name, value, count in zip(source_names, nll, tokens, strict=True):
        if count:
            figures[f"loss/{name}"] = _ratio(value, count)
    return figures


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")


class MetricsLog:
    """Writes a line of JSON per log step to workdir/metrics.jsonl, and the same elsewhere.

    Args:
        workdir: the run's directory.
        step: where the run resumes; later lines of an interrupted run are dropped.
        tensorboard: write event files, if tensorboardX is installed.
        wandb: project; "" for none.
        config: what Weights & Biases shows as the run's config.
    """

    def __init__(
        self, workdir: Path, step: int, tensorboard: bool, wandb: str, config: dict[str, Any]
    ) -> None:
        path = workdir / "metrics.jsonl"
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            write_text(path, "".join(f"{line}\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")
        self._board, self._wandb = None, None
        if tensorboard and importlib.util.find_spec("tensorboardX"):
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
        if wandb:
            if importlib.util.find_spec("wandb"):
                import wandb as client

                # A run that resumes here resumes there, too.
                known = workdir / "wandb_id"
                if not known.exists():
                    write_text(known, uuid.uuid4().hex[:8])
                self._wandb = client.init(
                    project=wandb,
                    id=known.read_text(),
                    name=workdir.name,
                    dir=str(workdir),
                    config=config,
                    resume="allow",
                )
            else:
                say("warning: no Weights & Biases: the package wandb is not installed")

    def write(self, step: int, figures: dict[str, Any]) -> None:
        """Adds the figures of `step`."""
        self._file.write(json.dumps({"step": step} | for_json(figures)) + "\n")
        self._file.flush()
        flat = {k: v for k, v in figures.items() if isinstance(v, int | float)}
        for name, value in figures.items():
            if isinstance(value, dict):
                flat |= {f"{name}/{k}": v for k, v in value.items()}
        if self._board:
            for name, value in flat.items():
                self._board.add_scalar(name, value, step)
        if self._wandb:
            self._wandb.log(flat, step=step)

    def close(self) -> None:
        """Flushes and closes all writers."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish()


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line cut off in the middle


def for_json(figures: dict[str, Any]) -> dict[str, Any]:
    """Returns the figures with None for those that are not finite, which JSON cannot hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
