"""A run in 8 bits trains, and what it trained is used in the checkpoint's dtype."""

import dataclasses

from synthdiv.model.weights import load_model
from synthdiv.training import pretrain
from tests.training.conftest import lines


def test_a_run_in_8_bits_learns_and_is_read_without(config, tmp_path) -> None:
    model = dataclasses.replace(config.model, fp8=True)
    checkpoint = pretrain(dataclasses.replace(config, model=model), tmp_path)
    losses = [line["loss"] for line in lines(tmp_path)]
    assert losses[-1] < losses[0] - 0.1
    assert not load_model(checkpoint).config.fp8
