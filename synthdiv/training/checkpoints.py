"""Saves and restores the whole state of a run through Orbax, asynchronously, on any mesh.

A checkpoint, `workdir/checkpoints/STEP/`, is complete when its directory has that name:

    params/      the model's weights, float32
    optimizer/   optax's state
    progress/    step, length of the run, PRNG key, smoothed loss
    about/       metadata: JSON with the model's config, the data position, the run's config, and
                 digests of all the rest
    tokenizer/   the tokenizer's files
"""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from synthdiv.errors import UserError
from synthdiv.model import digests
from synthdiv.model.config import ARCHITECTURE, ModelConfig
from synthdiv.model.weights import CHECKPOINTS, read_about, seal, steps_in, tokenizer_digests
from synthdiv.progress import say
from synthdiv.training.step import TrainState

FORMAT = 1


class _FolderHandler(ocp.CheckpointHandler):
    """Copies a directory of small files into a checkpoint."""

    def save(self, directory: Any, args: "_FolderSave") -> None:
        if jax.process_index() == 0:
            for file in sorted(Path(args.source).iterdir()):
                if file.is_file():
                    shutil.copyfile(file, Path(str(directory)) / file.name)

    def restore(self, directory: Any, args: Any = None) -> Path:
        return Path(str(directory))


@ocp.args.register_with_handler(_FolderHandler, for_restore=True)
class _FolderRestore(ocp.args.CheckpointArgs):
    """Orbax asks for one; what is restored is the directory itself."""


@ocp.args.register_with_handler(_FolderHandler, for_save=True)
class _FolderSave(ocp.args.CheckpointArgs):
    def __init__(self, source: Path) -> None:
        self.source = source


def _items(state: TrainState) -> dict[str, Any]:
    """The state as a checkpoint keeps it: three directories of arrays."""
    progress = {
        field.name: getattr(state, field.name)
        for field in dataclasses.fields(state)
        if field.name not in ("params", "optimizer")
    }
    return {"params": state.params, "optimizer": state.optimizer, "progress": progress}


class _Newest:
    """Which checkpoints are kept: the newest, and the best one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.best: int | None = None  # its step

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        first = len(checkpoints) - self.number
        return [i >= first or each.step == self.best for i, each in enumerate(checkpoints)]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        workdir: the run's directory.
        keep: how many of the newest are kept, beside the best.
        about: facts of the run, for JSON, that every checkpoint repeats; has "model".
        tokenizer: directory of the tokenizer's files, or None.
    """

    def __init__(
        self, workdir: Path, keep: int, about: dict[str, Any], tokenizer: Path | None
    ) -> None:
        self.directory = (workdir / CHECKPOINTS).absolute()
        # As it comes back from JSON, where tuples are lists, so that its digest is the same then.
        self._about = json.loads(json.dumps(about))
        self._workdir, self._tokenizer = workdir, tokenizer
        self._kept = _Newest(keep)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._kept, create=True, enable_async_checkpointing=True
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def path(self, step: int) -> Path:
        """Returns the directory of the checkpoint after `step` updates."""
        return self.directory / str(step)

    def save(
        self,
        step: int,
        state: TrainState,
        position: dict[str, Any],
        skipped: dict[str, int] | None = None,
        best: dict[str, Any] | None = None,
    ) -> None:
        """Starts to save; returns when the state has been copied and may be overwritten.

        Args:
            step: number of updates made.
            state: what to save.
            position: in the data, after those updates.
            skipped: how many updates were left out.
            best: `step` and held-out `loss` of the best checkpoint so far, which is kept.
        """
        self._kept.best = best["step"] if best else None
        if step in self._manager.all_steps():
            return
        contents = _items(state)
        saved: dict[str, Any] = {name: digests.digest(each) for name, each in contents.items()}
        items = {name: ocp.args.StandardSave(each) for name, each in contents.items()}
        if self._tokenizer is not None:
            saved["tokenizer"] = tokenizer_digests(self._tokenizer)
            items["tokenizer"] = _FolderSave(self._tokenizer)
        about = {"format": FORMAT, "step": step, "position": position, "digests": saved}
        about |= {"skipped": skipped} if skipped else {}
        about |= {"best": best} if best else {}
        items["about"] = ocp.args.JsonSave(seal(self._about | about))
        self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """Returns the state of the newest readable checkpoint, and what it says of itself, or None.

        A damaged one is set aside as `workdir/damaged-STEP`, with a warning, and the one before it
        is taken.

        Args:
            abstract: shapes and shardings of the state to return; it may have been saved from other
                shardings.

        Raises:
            UserError: a checkpoint is of another architecture.
        """
        for step in reversed(steps_in(self.directory)):
            try:
                about = read_about(self.path(step))
            except UserError as error:
                self._set_aside(step, error)
                continue
            self._check_architecture(about, step)
            try:
                return self._read(step, abstract, about.get("digests")), about
            except Exception as error:  # Orbax and TensorStore raise many kinds
                self._set_aside(step, error)
        return None

    def _read(self, step: int, abstract: TrainState, saved: dict[str, Any] | None) -> TrainState:
        wanted = {
            name: ocp.args.StandardRestore(content) for name, content in _items(abstract).items()
        }
        restored = self._manager.restore(step, args=ocp.args.Composite(**wanted))
        if saved is None:
            say(f"{self.path(step)} was saved without digests, so it cannot be checked")
        else:
            for name in wanted:
                digests.check(restored[name], saved[name], f"the arrays in {name}/")
        return TrainState(
            params=restored["params"], optimizer=restored["optimizer"], **restored["progress"]
        )

    def _check_architecture(self, about: dict[str, Any], step: int) -> None:
        if about.get("format") != FORMAT:
            raise UserError(f"{self.path(step)} is of format {about.get('format')}, not {FORMAT}")
        optimizer = about.get("run", {}).get("optimizer", {})
        if optimizer.get("name") == "muon" and "digests" not in about:
            raise UserError(
                f"{self.path(step)} is of a version that used another AdamW beside Muon: finish "
                "the run with that version, or begin it in another `workdir`"
            )
        # What an earlier version did not know was as the defaults are.
        saved = dataclasses.asdict(ModelConfig()) | about["model"]
        wanted = self._about["model"]
        for name in ARCHITECTURE:
            if saved[name] != wanted[name]:
                raise UserError(
                    f"{self.path(step)} has Model.{name}={saved[name]!r} and this run "
                    f"{wanted[name]!r}: take another `workdir` or the same model"
                )

    def _set_aside(self, step: int, error: Exception) -> None:
        words = str(error).strip().splitlines()
        reason = words[0][:200] if words else type(error).__name__
        aside = self._workdir / f"damaged-{step}"
        say(
            f"warning: checkpoint {self.path(step)} cannot be read ({reason}); it is set aside as "
            f"{aside} and the one before it is taken"
        )
        if jax.process_index() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            self.path(step).rename(aside)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(f"damaged-{step}")
        self._manager.reload()

    def wait(self) -> None:
        """Returns when everything that was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases the threads."""
        self._manager.close()
