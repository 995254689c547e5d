"""Held-out loss while a run trains: the right number, no trace in the run, the best one kept."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from synthdiv.data import MixtureConfig, batches
from synthdiv.errors import UserError
from synthdiv.model import load_model
from synthdiv.model.loss import cross_entropy
from synthdiv.training import loop, plan_pretrain, pretrain
from synthdiv.training.validation import better
from tests.training.conftest import LENGTH, lines, state_of


@pytest.fixture(scope="module")
def steps(tokens) -> dict:
    """Eight steps that train on one source."""
    return {
        "tokens": 8 * 8 * LENGTH,
        "checkpoint_every": 4,
        "keep": 1,
        "mixture": MixtureConfig(sources=((str(tokens[0]), None),)),
    }


@pytest.fixture
def validated(config, steps, tokens):
    held_out = ((str(tokens[1]), None),)
    return dataclasses.replace(config, **steps, validation=held_out, validate_every=3)


def test_held_out_loss_is_right_and_the_best_is_kept(config, steps, validated, tmp_path) -> None:
    final = pretrain(validated, tmp_path / "run")
    found = {x["step"]: x for x in lines(tmp_path / "run") if "validation/loss" in x}
    assert list(found) == [3, 6, 8]
    assert {"loss", "validation/bits_per_byte", "validation/loss/odd"} <= set(found[8])

    model = load_model(final).model
    data = batches(MixtureConfig(validated.validation), 1)
    assert data.total_sequences % 8  # the last batch is filled

    def summed(batch):
        x_BTD = model.hidden(batch["tokens"], batch["segment_ids"], batch["positions"])
        return cross_entropy(x_BTD, model.head_table(), batch["targets"], batch["loss_mask"])[0]

    with jax.transfer_guard("allow"):
        rows = [next(data) for _ in range(data.total_sequences)]
        data.close()
        whole = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        nll = float(jax.jit(summed)(whole))
    tokens, size = whole["loss_mask"].sum(), whole["bytes"].sum()
    assert found[8]["validation/loss"] == pytest.approx(nll / tokens, rel=1e-4)
    bits = nll / np.log(2) / size
    assert found[8]["validation/bits_per_byte"] == pytest.approx(bits, rel=1e-4)

    done = json.loads((tmp_path / "run/done.json").read_text())
    best = min(found, key=lambda step: found[step]["validation/loss"])
    assert done["step"] == 8 and done["best"]["step"] == best
    assert done["best"]["loss"] == found[best]["validation/loss"]

    plain = pretrain(dataclasses.replace(config, **steps), tmp_path / "plain")
    jax.tree.map(np.testing.assert_array_equal, state_of(plain), state_of(final))


def test_the_lowest_loss_is_the_best() -> None:
    best = {"step": 3, "loss": 2.0}
    losses = {1.9: True, 2.0: False, 2.1: False, float("nan"): False}
    assert {loss: better({"validation/loss": loss}, best) for loss in losses} == losses
    assert better({"validation/loss": 9.0}, None)


def test_the_best_is_kept_by_a_run_that_is_stopped_and_goes_on(
    validated, tmp_path, monkeypatch
) -> None:
    """The best is the first here; the run stops after it by `max_steps`, and remembers it."""
    monkeypatch.setattr(loop, "better", lambda figures, best: best is None)
    whole = pretrain(validated, tmp_path / "whole")
    part = pretrain(dataclasses.replace(validated, max_steps=5), tmp_path / "part")
    assert part.name == "5" and not (tmp_path / "part/done.json").exists()
    final = pretrain(dataclasses.replace(validated, max_steps=20), tmp_path / "part")
    jax.tree.map(np.testing.assert_array_equal, state_of(whole), state_of(final))
    for workdir in ("whole", "part"):
        done = json.loads((tmp_path / workdir / "done.json").read_text())
        assert done["best"]["step"] == 3
        assert done["best"]["checkpoint"] == str(tmp_path / workdir / "checkpoints/3")
        kept = {path.name for path in (tmp_path / workdir / "checkpoints").iterdir()}
        assert kept == {"3", "8"}  # of the newest, one


def test_held_out_tokens_that_are_not_are_refused(validated, tokens) -> None:
    trained = dataclasses.replace(validated, validation=((str(tokens[0]), 500.0),))
    with pytest.raises(UserError, match="'even', which the mixture trains on"):
        plan_pretrain(trained)
    with pytest.raises(UserError, match="Pretrain.validation: no tokens 'nothere'"):
        plan_pretrain(dataclasses.replace(validated, validation=(("nothere", None),)))
    with pytest.raises(UserError, match="validate_every must be at least 1"):
        dataclasses.replace(validated, validate_every=0)
