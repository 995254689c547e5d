"""The training loop: feed, dispatch, log one step late, save, stop cleanly.

Nothing waits for the device between logs except that the host runs at most two steps ahead. All
transfers are explicit, so the loop runs under `jax_transfer_guard=disallow`.
"""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from synthdiv.errors import Paused, UserError
from synthdiv.files import write_json
from synthdiv.model.attention import choose_backend
from synthdiv.progress import Progress, say
from synthdiv.training.checkpoints import Checkpoints
from synthdiv.training.config import RunConfig
from synthdiv.training.flops import mfu
from synthdiv.training.metrics import MetricsLog, for_json, summarize
from synthdiv.training.step import (
    StepConfig,
    abstract_state,
    batch_shardings,
    compiled_step,
    init_state,
    state_shardings,
)

AHEAD = 2  # steps that may be queued on the device


class Diverged(UserError):
    """Training met a loss or gradient that it must not go on from."""


@dataclasses.dataclass
class _Pending:
    """A step that was dispatched and not yet reported."""

    number: int  # updates made, this one included
    position: dict[str, Any]  # in the data, after its batch
    metrics: dict[str, jax.Array]


class _Clock:
    """Wall time of a run, and what of it did not go into steps."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.lost = 0.0
        self.window = self.start
        self.window_lost = 0.0

    @contextlib.contextmanager
    def losing(self) -> Iterator[None]:
        """Counts what happens inside as time without steps."""
        before = time.monotonic()
        try:
            yield
        finally:
            self.lost += time.monotonic() - before

    def goodput(self) -> float:
        return 1 - self.lost / max(time.monotonic() - self.start, 1e-9)

    def lap(self) -> float:
        """Seconds in steps since the last call."""
        now = time.monotonic()
        seconds = now - self.window - (self.lost - self.window_lost)
        self.window, self.window_lost = now, self.lost
        return max(seconds, 1e-9)


def train(
    workdir: Path,
    batches: Any,
    config: StepConfig,
    mesh: Mesh,
    run: RunConfig,
    steps: int,
    about: dict[str, Any],
    tokenizer: Path,
    first_params: Callable[[Any], Any] | None = None,
    profile_steps: tuple[int, int] | None = None,
) -> Path:
    """Trains to `steps` updates, from the newest checkpoint of `workdir` if there is one.

    Args:
        workdir: where checkpoints, metrics.jsonl and done.json go.
        batches: a `synthdiv.data.Batches`.
        config: what the step is compiled for.
        steps: length of the whole run.
        about: facts for the checkpoints; has "model".
        tokenizer: directory of its files, copied into every checkpoint.
        first_params: given the shardings of the parameters, returns the weights that a new run
            starts from; None: random ones.
        profile_steps: (first, last) steps that the profiler records into workdir/profile.

    Returns:
        The directory of the last checkpoint.

    Raises:
        Paused: SIGTERM came; all is saved.
        Diverged: a loss or gradient that is not finite, or a spike.
        UserError: what is in `workdir` is of another run.
    """
    clock = _Clock()
    with _termination() as asked_to_stop, contextlib.ExitStack() as stack:
        checkpoints = Checkpoints(workdir, run.keep, about, tokenizer)
        stack.callback(checkpoints.close)
        stack.callback(batches.close)
        restored = checkpoints.restore(abstract_state(config, mesh))
        if restored is None:
            params = None
            if first_params is not None:
                params = first_params(state_shardings(config, mesh)["params"])
            state = init_state(config, mesh, run.seed, steps, params)
        else:
            state, position = restored
            batches.set_state(position)
        number, length = (int(jax.device_get(state[name])) for name in ("step", "steps"))
        if restored is not None:
            say(f"resuming from {checkpoints.path(number)}")
        if length != steps:
            raise UserError(
                f"{workdir} holds a run of {length} steps, not {steps}: the learning "
                "rate depends on the length, so take another --workdir"
            )
        say(backend_of(config, batches.sequence_length))
        step_function = compiled_step(config, mesh)
        placed = batch_shardings(mesh)
        log = None
        if jax.process_index() == 0:  # one process writes for all
            log = MetricsLog(workdir, number, run.tensorboard, run.wandb, about)
            stack.callback(log.close)
        bar = stack.enter_context(Progress(steps, "training", unit="step"))
        bar.update(number)
        reporter = _Reporter(config, batches, log, bar, clock, steps)
        clock.lost += time.monotonic() - clock.start

        pending: list[_Pending] = []
        saved = number if restored is not None else -1
        while number < steps:
            with clock.losing():
                batch = next(batches)
                position = batches.get_state()
            batch = _place(batch, placed)
            with _profile(profile_steps, number, workdir, pending):
                first = not pending and reporter.reported == 0
                with clock.losing() if first else contextlib.nullcontext():
                    state, metrics = step_function(state, batch)
            number += 1
            pending.append(_Pending(number, position, metrics))
            if len(pending) > AHEAD:
                jax.block_until_ready(pending[-1 - AHEAD].metrics)
            if number % run.log_every == 0 and len(pending) > 1:
                reporter.report(pending[:-1])  # the step just dispatched is still running
                pending = pending[-1:]
            stop = asked_to_stop(number % run.log_every == 0)
            due = run.checkpoint_every and number % run.checkpoint_every == 0
            if stop or due or number == steps:
                reporter.report(pending)  # never save what diverged
                pending = []
                with clock.losing():
                    checkpoints.save(number, state, position)
                saved = number
            if stop and number < steps:
                checkpoints.wait()
                raise Paused(
                    f"asked to stop at step {number} of {steps}; all is saved in "
                    f"{checkpoints.path(number)}; run the same command again to go on"
                )
        if saved != number:  # a finished run whose done.json was lost
            checkpoints.save(number, state, batches.get_state())
        checkpoints.wait()
        final = checkpoints.path(number)
        if jax.process_index() == 0:
            write_json(
                workdir / "done.json",
                {"checkpoint": str(final), "step": number, "figures": for_json(reporter.last)},
            )
    return final


class _Reporter:
    """Fetches the metrics of finished steps and writes them down."""

    def __init__(self, config, batches, log, bar, clock, steps) -> None:
        self._config, self._batches, self._log = config, batches, log
        self._bar, self._clock, self._steps = bar, clock, steps
        self.reported = 0
        self.last: dict[str, Any] = {}

    def report(self, pending: list[_Pending]) -> None:
        """Logs a stretch of steps.

        Raises:
            Diverged: one of them was bad and the run is to stop; names the step and its data.
        """
        if not pending:
            return
        fetched = jax.device_get([p.metrics for p in pending])
        if self._config.on_bad == "stop":
            for entry, metrics in zip(pending, fetched, strict=True):
                if metrics["bad"]:
                    raise Diverged(
                        f"step {entry.number} of {self._steps} has loss {metrics['loss']:.4g} and "
                        f"gradient norm {metrics['grad_norm']:.4g}; its batch ends at data "
                        f"position {entry.position}; nothing of it was saved. Lower the learning "
                        "rate, or set on_bad='skip' to leave such batches out"
                    )
        names = self._batches.source_names
        figures = summarize(fetched, names)
        seconds = self._clock.lap()
        tokens = len(pending) * self._batches.batch_size * self._batches.sequence_length
        speed = tokens / seconds
        figures["tokens"] = (
            pending[-1].number * self._batches.batch_size * self._batches.sequence_length
        )
        figures["tokens_per_second"] = speed
        figures["mfu"] = mfu(
            self._config.model, self._batches.sequence_length, speed, jax.devices()
        )
        figures["goodput"] = self._clock.goodput()
        figures["epochs"] = {k: v["epochs"] for k, v in self._batches.contributed().items()}
        figures["seconds"] = time.monotonic() - self._clock.start
        if self._log is not None:
            self._log.write(pending[-1].number, figures)
        self.reported += len(pending)
        self.last = figures
        self._bar.update(len(pending), loss=f"{figures['loss']:.3f}", tokens_s=f"{speed:,.0f}")


def backend_of(config: StepConfig, length: int) -> str:
    """Returns the sentence that says which attention backend the run will use.

    Raises:
        UserError: one was asked for that cannot run.
    """
    model = config.model
    _, sentence = choose_backend(
        model.attention,
        dtype=model.dtype,
        head_dim=model.head_size,
        dropout=model.attention_dropout,
        length=length,
    )
    return sentence


def _place(batch: dict[str, Any], placed: dict[str, Any]) -> dict[str, jax.Array]:
    """Puts this process's rows of a batch onto its devices."""
    if jax.process_count() == 1:
        return jax.device_put({name: batch[name] for name in placed}, placed)
    return {
        name: jax.make_array_from_process_local_data(placed[name], batch[name]) for name in placed
    }


@contextlib.contextmanager
def _termination() -> Iterator[Callable[[bool], bool]]:
    """Turns SIGTERM into a question: was it sent (to any process of the run)?

    The yielded function takes whether all processes ask at this point; several processes agree only
    then, a single one always.
    """
    came = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: came.set()) if in_main else None

    def asked(together: bool) -> bool:
        if jax.process_count() == 1:
            return came.is_set()
        if not together:
            return False
        import numpy as np
        from jax.experimental import multihost_utils

        return bool(multihost_utils.process_allgather(np.array(came.is_set())).any())

    try:
        yield asked
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _profile(
    span: tuple[int, int] | None, number: int, workdir: Path, pending: list[_Pending]
) -> Iterator[None]:
    """Records the steps of `span` (numbered from 1) for TensorBoard's profiler."""
    if span and number + 1 == span[0]:
        jax.block_until_ready([p.metrics for p in pending])
        jax.profiler.start_trace(str(workdir / "profile"))
    yield
    if span and number + 1 == span[1]:
        jax.effects_barrier()
        jax.profiler.stop_trace()
        say(f"profile of steps {span[0]} to {span[1]} in {workdir / 'profile'}")


def step_span(words: list[str] | None) -> tuple[int, int] | None:
    """Returns (first, last) of --profile_steps=FIRST,LAST, or None where it was not given.

    Raises:
        UserError: it is not two step numbers in order.
    """
    if not words:
        return None
    try:
        first, last = (int(word) for word in words)
    except ValueError:
        first, last = 0, 0
    if not 1 <= first <= last:
        raise UserError(
            f"--profile_steps={','.join(words)} is not FIRST,LAST with 1 <= FIRST <= LAST"
        )
    return first, last
