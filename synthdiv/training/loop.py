"""The training loop: feed, dispatch, log one step late, save, stop cleanly.

Nothing waits for the device between logs, except that the host runs at most two steps ahead. All
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

import synthdiv
from synthdiv.data import Batches
from synthdiv.errors import Paused, UserError
from synthdiv.files import write_json
from synthdiv.model.attention import backend_of
from synthdiv.model.config import ModelConfig
from synthdiv.progress import Progress, say
from synthdiv.storage import told
from synthdiv.training.checkpoints import Checkpoints
from synthdiv.training.config import RunConfig
from synthdiv.training.mesh import check_fits
from synthdiv.training.metrics import Clock, MetricsLog, Pending, Reporter, for_json
from synthdiv.training.step import (
    StepConfig,
    TrainState,
    abstract_state,
    compiled_step,
    init_state,
    place,
    state_shardings,
)
from synthdiv.training.validation import HELD_OUT, Validation, better

AHEAD = 2  # steps that may be queued on the device
NONE_SKIPPED = {"total": 0, "in_a_row": 0}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run whose data is open and fits its model and mesh.

    Attributes:
        config: the settings of the run.
        model: the model's sizes.
        data: its batches.
        steps: the length of the whole run, in updates.
        mesh: of devices.
        tokenizer: directory of the tokenizer's files, copied into every checkpoint.
        first_params: given the shardings of the parameters, returns the weights that a new run
            starts from; None: random ones.
        init_from: the checkpoint that has those weights; "": none.
        operative: the gin text that the settings were made from, kept in the checkpoints.
        validation: held-out sequences that it reads; None: none.
        profile_steps: (first, last) steps that the profiler records into workdir/profile.

    Raises:
        UserError: data, model and mesh do not fit each other.
    """

    config: RunConfig
    model: ModelConfig
    data: Batches
    steps: int
    mesh: Mesh
    tokenizer: Path
    first_params: Callable[[Any], Any] | None = None
    init_from: str = ""
    operative: str = ""
    validation: Validation | None = None
    profile_steps: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        data, model = self.data, self.model
        if data.vocab_size > model.vocab_size:
            raise UserError(
                f"the tokenizer of the tokens has {data.vocab_size} entries and the model "
                f"{model.vocab_size} (Model.vocab_size)"
            )
        if data.sequence_length > model.max_length:
            raise UserError(
                f"sequences of {data.sequence_length} tokens are longer than the model's context "
                f"of {model.max_length} (Model.max_length)"
            )
        if self.validation is not None:
            self.validation.check(data)
        check_fits(model, self.mesh, self.config.batch_size, self.config.accumulate)

    @property
    def step(self) -> StepConfig:
        """What the step is compiled for."""
        data = self.data
        return StepConfig.of(self.config, self.model, len(data.source_names), data.max_segments)

    @property
    def about(self) -> dict[str, Any]:
        """JSON-able facts of the run, which every checkpoint repeats."""
        return {
            "model": dataclasses.asdict(self.model),
            "run": dataclasses.asdict(self.config),
            "gin": self.operative,
            "steps": self.steps,
            "init_from": self.init_from,
            "sources": self.data.plan(),
            "tokenizer_sha256": self.data.tokenizer_sha256,
            "versions": {"synthdiv": synthdiv.__version__, "jax": jax.__version__},
        }


def train(run: Run, workdir: Path) -> Path:
    """Trains to `run.steps` updates, from the newest checkpoint of `workdir` if there is one.

    Stops before, where the config's `max_steps` says so: saved, and without a done.json.

    Args:
        run: what to train, and on what.
        workdir: gets checkpoints, metrics.jsonl and done.json.

    Returns:
        The directory of the last checkpoint.

    Raises:
        Paused: SIGTERM came; everything is saved.
        Diverged: a loss or gradient that is not finite, or a spike.
        UserError: `workdir` holds another run.
    """
    clock, config = Clock(), run.config
    with _termination() as asked_to_stop, contextlib.ExitStack() as stack:
        checkpoints = Checkpoints(workdir, config.keep, run.about, run.tokenizer)
        stack.callback(checkpoints.close)
        stack.callback(run.data.close)
        state, saved, skipped, best = _first_state(run, checkpoints, workdir)
        number, end = max(saved, 0), min(run.steps, config.max_steps or run.steps)
        say(backend_of(run.model, run.data.sequence_length)[1])
        train_step = compiled_step(run.step, run.mesh)
        log = None
        if jax.process_index() == 0:  # one process writes for all
            log = MetricsLog(workdir, number, config.tensorboard, config.wandb, run.about)
            stack.callback(log.close)
        bar = stack.enter_context(Progress(run.steps, "training", unit="step"))
        bar.update(number)
        reporter = Reporter(
            run.step, run.data, log, bar, clock, run.steps, config.max_skipped, skipped
        )
        clock.lost += time.monotonic() - clock.start

        pending: list[Pending] = []
        while number < end:
            with clock.losing():
                batch = next(run.data)
                position = run.data.get_state()
            placed = place(batch, run.mesh)
            with _profile(run.profile_steps, number, workdir, pending):
                first = not pending and reporter.reported == 0  # it compiles
                with clock.losing() if first else contextlib.nullcontext():
                    state, metrics = train_step(state, placed)
            number += 1
            pending.append(Pending(number, position, metrics))
            if len(pending) > AHEAD:
                jax.block_until_ready(pending[-1 - AHEAD].metrics)
            if number % config.log_every == 0 and len(pending) > 1:
                reporter.report(pending[:-1])  # the step just dispatched is still running
                pending = pending[-1:]
            stop = asked_to_stop(number % config.log_every == 0)
            due = config.checkpoint_every and number % config.checkpoint_every == 0
            validating = run.validation is not None and run.validation.due(number, run.steps)
            if stop or due or validating or number == end:
                found: dict[str, Any] = {}
                if run.validation is not None and validating:
                    jax.block_until_ready(metrics)
                    with clock.losing():
                        found = run.validation.figures(run.step, run.mesh, state.params)
                reporter.report(pending, found)  # never save what diverged
                pending = []
                improved = validating and better(found, best)
                if improved:
                    best = {"step": number, "loss": found[HELD_OUT]}
                if stop or due or improved or number == end:
                    with clock.losing():
                        checkpoints.save(number, state, position, reporter.skipped, best)
                    saved = number
            if stop and number < end:
                checkpoints.wait()
                raise Paused(
                    f"asked to stop at step {number} of {run.steps}; everything is saved in "
                    f"{checkpoints.path(number)}; run the same command again to go on"
                )
        if saved != number:  # a run of no steps
            checkpoints.save(number, state, run.data.get_state(), reporter.skipped, best)
        checkpoints.wait()
        final = checkpoints.path(number)
        if number < run.steps:
            say(
                f"stopped after step {number} of {run.steps} (max_steps={config.max_steps}); the "
                "same command with more of them, or without, goes on"
            )
        elif jax.process_index() == 0:
            figures = for_json(reporter.last)
            left_out = reporter.skipped["total"]
            if left_out:
                say(f"warning: {left_out:,} of {number:,} updates were bad and were left out")
            done: dict[str, Any] = {"checkpoint": told(final), "step": number, "skipped": left_out}
            if best is not None:
                done["best"] = best | {"checkpoint": told(checkpoints.path(best["step"]))}
                say(f"lowest held-out loss: {best['loss']:.4f}, after step {best['step']:,}")
            write_json(workdir / "done.json", done | {"figures": figures})
    return final


def _first_state(
    run: Run, checkpoints: Checkpoints, workdir: Path
) -> tuple[TrainState, int, dict[str, int], dict[str, Any] | None]:
    """Returns the state to start from, and of it: its step, updates left out, the best before it.

    The step is -1 for the state of a new run; the best is `step` and held-out `loss`, or None.
    """
    restored = checkpoints.restore(abstract_state(run.step, run.mesh))
    if restored is None:
        params = None
        if run.first_params is not None:
            params = run.first_params(state_shardings(run.step, run.mesh).params)
        state = init_state(run.step, run.mesh, run.config.seed, run.steps, params)
        return state, -1, NONE_SKIPPED, None
    state, about = restored
    run.data.set_state(about["position"])
    number, length = (int(n) for n in jax.device_get((state.step, state.steps)))
    say(f"resuming from {checkpoints.path(number)}")
    if length != run.steps:
        raise UserError(
            f"{workdir} holds a run of {length} steps, not {run.steps}: the learning rate depends "
            "on the length, so take another `workdir`"
        )
    return state, number, about.get("skipped", NONE_SKIPPED), about.get("best")


@contextlib.contextmanager
def _termination() -> Iterator[Callable[[bool], bool]]:
    """Turns SIGTERM into a question: was it sent to any process of the run?

    The function takes whether all processes are asking at this point. Several processes can only
    agree then; a single one always can.
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
    span: tuple[int, int] | None, number: int, workdir: Path, pending: list[Pending]
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
    """Returns (first, last) of the words FIRST,LAST, or None where none were given.

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
            f"`profile_steps={','.join(words)}` is not FIRST,LAST with 1 <= FIRST <= LAST"
        )
    return first, last
