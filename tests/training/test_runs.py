"""Runs from real tokens: they learn, go on exactly, stop cleanly, and refuse what does not fit."""

import dataclasses
import json
import os
import signal
import struct
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthdiv.errors import Paused, UserError
from synthdiv.model import load_model, weights
from synthdiv.plans import Plan
from synthdiv.training import (
    MeshConfig,
    OptimizerConfig,
    SFTConfig,
    SFTOptimizerConfig,
    export,
    plan_pretrain,
    pretrain,
    runs,
    sft,
)
from synthdiv.training.work import fine_tuning
from tests.training.conftest import LENGTH, TINY, lines, state_of


@pytest.fixture(autouse=True)
def no_hidden_transfers():
    with jax.transfer_guard("disallow"):
        yield


def assert_same_state(a, b) -> None:
    a, b = state_of(a), state_of(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_termination_is_a_pause_with_all_saved(config, tmp_path) -> None:
    """SIGTERM, which a process of its own would get from its scheduler, sent from a thread."""
    log, ended = tmp_path / "metrics.jsonl", threading.Event()

    def terminate() -> None:
        while not (log.exists() and log.stat().st_size) and not ended.wait(0.01):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # where the run does not hear it
    thread = threading.Thread(target=terminate)
    thread.start()
    try:
        long = dataclasses.replace(config, tokens=10_000 * 8 * LENGTH, log_every=1)
        with pytest.raises(Paused, match="asked to stop at step") as paused:
            pretrain(long, tmp_path)
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)
    stopped = int(str(paused.value).split("step ")[1].split()[0])
    assert (tmp_path / "checkpoints" / str(stopped) / "about/metadata").exists()
    assert lines(tmp_path)[-1]["step"] == stopped < 10_000


def test_a_run_learns_and_says_what_it_did(config, tmp_path) -> None:
    checkpoint = pretrain(config, tmp_path, operative="Model.hidden = 32\n")
    log = lines(tmp_path)
    assert [line["step"] for line in log] == [2, 5, 8, 11, 12]  # one step late, and the last
    assert log[-1]["loss"] < log[0]["loss"] - 0.3
    assert log[-1]["tokens"] == 12 * 8 * LENGTH
    assert {"loss/even", "loss/odd", "grad_norm", "param_norm", "tokens_per_second"} <= set(log[0])
    bits = log[0]["bits_per_byte"] * 1.0
    assert 1 < bits < log[0]["loss"] / np.log(2)  # a token is more than a byte
    assert 0 < log[-1]["goodput"] < 1 and log[-1]["mfu"] is None
    sizes = {
        Path(d).name: json.loads((Path(d) / "manifest.json").read_text())["sequences"]
        for d, _ in config.mixture.sources
    }
    for line in log:  # what has been read up to that step, and no batch more
        read = sum(epochs * sizes[name] for name, epochs in line["epochs"].items())
        assert read == pytest.approx(8 * line["step"])
    done = json.loads((tmp_path / "done.json").read_text())
    assert done["step"] == 12 and done["checkpoint"] == str(checkpoint)
    about = json.loads((checkpoint / "about/metadata").read_text())
    assert about["gin"] == "Model.hidden = 32\n"
    assert about["run"]["optimizer"]["learning_rate"] == 1e-2
    model, architecture, tokenizer = load_model(tmp_path)
    assert architecture.hidden == 32 and (tokenizer / "tokenizer.json").exists()
    with jax.transfer_guard("allow"):
        assert np.isfinite(np.asarray(model(jnp.zeros((1, 4), jnp.int32)))).all()


def test_a_finished_run_returns_at_once(config, tmp_path) -> None:
    first = pretrain(config, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert pretrain(config, tmp_path) == first
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_resuming_is_exact(config, tmp_path) -> None:
    """From any of the kept checkpoints, a run ends in the same bits."""
    config = dataclasses.replace(
        config, checkpoint_every=4, model=dataclasses.replace(TINY, attention_dropout=0.1)
    )
    whole = pretrain(config, tmp_path / "whole")
    again = pretrain(config, tmp_path / "again")
    (tmp_path / "again/done.json").unlink()
    for step in (8, 12):
        (again.parent / str(step)).rename(tmp_path / f"gone-{step}")
    assert pretrain(config, tmp_path / "again") == again
    assert_same_state(whole, again)
    losses = [[(x["step"], x["loss"]) for x in lines(tmp_path / w)] for w in ("whole", "again")]
    assert losses[0][-1] == losses[1][-1]
    assert [step for step, _ in losses[1]] == sorted({step for step, _ in losses[1]})


def test_the_newest_checkpoints_are_kept(config, tmp_path) -> None:
    pretrain(dataclasses.replace(config, checkpoint_every=2, keep=3), tmp_path)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [8, 10, 12]


@pytest.mark.parametrize("damage", ["cut", "missing", "about"])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    config, tmp_path, capsys, damage
) -> None:
    config = dataclasses.replace(config, checkpoint_every=5)
    last = pretrain(config, tmp_path)
    whole = state_of(last)
    (tmp_path / "done.json").unlink()
    if damage == "about":
        (last / "about/metadata").write_text('{"model": ')
    else:
        files = [p for p in (last / "params").rglob("*") if p.is_file() and p.parent.name == "d"]
        biggest = max(files, key=lambda p: p.stat().st_size)
        if damage == "cut":
            biggest.write_bytes(biggest.read_bytes()[:100])
        else:
            biggest.unlink()
    assert pretrain(config, tmp_path) == last
    said = capsys.readouterr().err
    assert "warning: checkpoint" in said and "damaged-12" in said and "resuming from" in said
    assert (tmp_path / "damaged-12").is_dir()
    jax.tree.map(np.testing.assert_array_equal, whole, state_of(last))


def test_a_half_written_checkpoint_is_no_checkpoint(config, tmp_path) -> None:
    config = dataclasses.replace(config, checkpoint_every=5)
    last = pretrain(config, tmp_path)
    whole = state_of(last)
    (tmp_path / "done.json").unlink()
    last.rename(last.with_name("12.orbax-checkpoint-tmp"))
    assert pretrain(config, tmp_path) == last
    jax.tree.map(np.testing.assert_array_equal, whole, state_of(last))


def test_divergence_stops_with_step_and_position(config, tmp_path) -> None:
    wild = OptimizerConfig(learning_rate=1e30, clip_norm=0.0, warmup=0.0)
    with pytest.raises(UserError, match=r"step 2 of 12 has loss .*'sequences': 16") as stop:
        pretrain(dataclasses.replace(config, optimizer=wild), tmp_path)
    assert "\n" not in str(stop.value)
    assert not (tmp_path / "done.json").exists()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_bad_batches_can_be_skipped_and_are_counted(config, tmp_path, capsys) -> None:
    wild = OptimizerConfig(learning_rate=1e30, clip_norm=0.0, warmup=0.0)
    config = dataclasses.replace(config, optimizer=wild, on_bad="skip", max_skipped=11)
    pretrain(config, tmp_path)
    assert sum(line.get("bad_steps", 0) for line in lines(tmp_path)) == 11
    assert json.loads((tmp_path / "done.json").read_text())["skipped"] == 11
    assert "warning: 11 of 12 updates were bad and were left out" in capsys.readouterr().err


def test_too_many_skips_in_a_row_stop_the_run(config, tmp_path) -> None:
    """The count goes on over an interruption."""
    wild = OptimizerConfig(learning_rate=1e30, clip_norm=0.0, warmup=0.0)
    config = dataclasses.replace(
        config, optimizer=wild, on_bad="skip", max_skipped=8, checkpoint_every=6, log_every=1
    )
    with pytest.raises(UserError, match="step 10 of 12 .* is number 9 in a row") as stop:
        pretrain(config, tmp_path)
    assert "left out in all: 9" in str(stop.value) and not (tmp_path / "done.json").exists()
    with pytest.raises(UserError, match="step 10 of 12 .* is number 9 in a row"):
        pretrain(config, tmp_path)


def test_another_run_in_the_same_place_is_refused(config, tmp_path) -> None:
    config = dataclasses.replace(config, checkpoint_every=6)
    pretrain(config, tmp_path)
    (tmp_path / "done.json").unlink()
    wider = dataclasses.replace(config, model=dataclasses.replace(TINY, hidden=64))
    with pytest.raises(
        UserError, match=r"another training run \(Model.hidden was 32 and is now 64"
    ):
        pretrain(wider, tmp_path)
    with pytest.raises(UserError, match=r"another training run \(steps was 12 and is now 24"):
        pretrain(dataclasses.replace(config, tokens=2 * config.tokens), tmp_path)
    with pytest.raises(UserError, match=r"another training run \(Pretrain.seed was 0 and is now 1"):
        pretrain(dataclasses.replace(config, seed=1), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": dataclasses.replace(TINY, vocab_size=128)}, "512 entries and the model 128"),
        ({"model": dataclasses.replace(TINY, max_length=16)}, "longer than the model's context"),
        ({"model": dataclasses.replace(TINY, attention="cudnn")}, "'cudnn' cannot run"),
        ({"mesh": MeshConfig(fsdp=3)}, "needs 3 devices"),
        ({"batch_size": 6, "accumulate": 4}, "batch of 6 sequences"),
    ],
    ids=["tokenizer", "length", "attention", "mesh", "batch"],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    config, tmp_path, changes, words
) -> None:
    with pytest.raises(UserError, match=words):
        pretrain(dataclasses.replace(config, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_same_figures(config, tmp_path) -> None:
    pytest.importorskip("tensorboardX")
    pretrain(dataclasses.replace(config, tensorboard=True, tokens=6 * 8 * 32), tmp_path)
    assert sum(p.stat().st_size for p in (tmp_path / "tensorboard").iterdir()) > 500


def wandb_records(file: bytes):
    """The records of a .wandb file, which is a LevelDB log after 7 bytes of its own."""
    at, parts = 7, b""
    while at + 7 <= len(file):
        if 32768 - at % 32768 < 7:  # the rest of a block is left empty
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack_from("<HB", file, at + 4)
        parts += file[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_weights_and_biases_gets_the_same_figures_in_one_run(config, tmp_path, monkeypatch) -> None:
    """Written offline, by wandb itself; a run that goes on keeps its id."""
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = dataclasses.replace(config, wandb="synthdiv-tests", checkpoint_every=4)
    last = pretrain(config, tmp_path)
    (tmp_path / "done.json").unlink()
    last.rename(tmp_path / "gone")
    pretrain(config, tmp_path)

    logged, ids = {}, set()
    for file in tmp_path.glob("wandb/offline-run-*/*.wandb"):
        for data in wandb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.run.run_id:
                ids.add(record.run.run_id)
            items = {i.key or i.nested_key[0]: i.value_json for i in record.history.item}
            if "loss" in items:
                logged[int(items["_step"])] = json.loads(items["loss"])
    assert ids == {(tmp_path / "wandb_id").read_text()}
    assert logged == {line["step"]: line["loss"] for line in lines(tmp_path)}


def test_a_profile_on_demand(config, tmp_path) -> None:
    pretrain(dataclasses.replace(config, tokens=6 * 8 * 32), tmp_path, profile_steps=(3, 4))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_the_plan_is_about_right_and_writes_nothing(config, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    figures = plan_pretrain(config).figures
    assert figures["parameters"] == TINY.parameters
    assert figures["steps"] == 12 and figures["tokens"] == 12 * 8 * 32
    assert figures["state_bytes_per_device"] == pytest.approx(12 * TINY.parameters, rel=0.01)
    assert figures["fits"] and figures["largest_micro_batch"] > 1000
    more = dataclasses.replace(config, batch_size=16, tokens=2 * config.tokens)
    bigger = plan_pretrain(more).figures
    assert bigger["bytes_per_device"] > figures["bytes_per_device"]
    assert not list(tmp_path.iterdir())


def test_a_batch_that_does_not_fit_is_told_with_one_that_would(
    config, tmp_path, monkeypatch
) -> None:
    """The devices' memory runs out, as far as JAX says; they have room for 2 of 8 sequences."""

    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr(runs, "train", full)
    for largest, words in [
        (2, r"a micro-batch of 8 sequences of 32 tokens .*; 2 would: accumulate=4 .* of 2$"),
        (0, "and no smaller one would: cut the model"),
    ]:
        planned = Plan(figures={"largest_micro_batch": largest})
        monkeypatch.setattr("synthdiv.training.plan.plan", lambda *_, planned=planned: planned)
        with pytest.raises(UserError, match=words) as told:
            pretrain(config, tmp_path)
        assert "\n" not in str(told.value)


def test_the_plan_counts_what_accumulated_gradients_take(config) -> None:
    """The sum of the gradients stays while the next micro-batch is computed."""
    once = plan_pretrain(config).figures
    config = dataclasses.replace(config, batch_size=32, accumulate=4)
    four = plan_pretrain(config).figures
    more = four["bytes_per_device"] - once["bytes_per_device"]
    assert more >= 4 * TINY.parameters  # bytes of float32


@pytest.fixture
def instructions(tmp_path):
    file = tmp_path / "instructions.jsonl"
    rows = [
        {
            "instruction": f"Which word is number {i}?",
            "output": f"It is the word {'abcdefgh'[i % 8]}.",
        }
        for i in range(60)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_fine_tuning_starts_from_the_model_and_learns(config, tmp_path, instructions) -> None:
    start = pretrain(config, tmp_path / "pretrained")
    settings = SFTConfig(
        batch_size=8,
        epochs=6,
        log_every=1,
        tensorboard=False,
        compile_cache="",
        optimizer=SFTOptimizerConfig(learning_rate=5e-3),
    )
    final = sft(settings, tmp_path / "pretrained", instructions, tmp_path / "tuned")
    log = lines(tmp_path / "tuned")
    assert log[-1]["loss"] < log[0]["loss"] - 0.5
    assert (final / "tokenizer/chat_template.jinja").exists()
    # With a rate of nothing, what comes out is what went in.
    still = dataclasses.replace(settings, epochs=1, optimizer=SFTOptimizerConfig(learning_rate=0.0))
    unmoved = sft(still, start, instructions, tmp_path / "unmoved")
    jax.tree.map(
        np.testing.assert_array_equal, state_of(start)["params"], state_of(unmoved)["params"]
    )


def test_fine_tuning_computes_the_model_as_it_is_told(run, instructions) -> None:
    """And as it was trained where nothing is said; only the dtype makes it another run."""
    start = weights.find_checkpoint(run)

    def opened(**how):
        return runs._open_sft(
            SFTConfig(batch_size=8, compile_cache="", **how), start, [instructions]
        )

    def work(**how):
        config = SFTConfig(batch_size=8, **how)
        return fine_tuning(config, start, [instructions], config.template)

    how = {"remat": "full", "attention": "xla", "loss_chunk": 32}
    assert opened().model == dataclasses.replace(TINY, attention_dropout=0.0)
    told = opened(**how, dtype="bfloat16").model
    assert told == dataclasses.replace(TINY, **how, dtype="bfloat16")
    assert work() == work(**how) != work(dtype="bfloat16")
    with pytest.raises(UserError, match="Model.remat='ful' is not one of .*'full'"):
        opened(remat="ful")


def test_epochs_of_a_set_smaller_than_a_batch_are_those_asked_for(
    config, tmp_path, instructions
) -> None:
    pretrain(config, tmp_path / "pretrained")
    settings = SFTConfig(batch_size=64, epochs=3, log_every=1, tensorboard=False, compile_cache="")
    sft(settings, tmp_path / "pretrained", instructions, tmp_path / "tuned")
    log = lines(tmp_path / "tuned")
    about = json.loads((tmp_path / "tuned/run.json").read_text())
    sequences = about["sources"]["instructions"]["sequences"]
    assert sequences % 64 and sequences < 3 * 64
    assert [line["step"] for line in log] == list(range(1, -(-sequences // 64) + 1))
    assert log[-1]["epochs"]["instructions"] == 3


def test_fine_tuning_starts_from_a_hugging_face_llama(config, tmp_path, instructions) -> None:
    start = pretrain(config, tmp_path / "pretrained")
    llama = export(start, tmp_path / "llama")
    settings = SFTConfig(
        batch_size=8,
        epochs=1,
        tensorboard=False,
        compile_cache="",
        optimizer=SFTOptimizerConfig(learning_rate=0.0),
    )
    unmoved = sft(settings, llama, instructions, tmp_path / "unmoved")
    jax.tree.map(
        np.testing.assert_array_equal, state_of(start)["params"], state_of(unmoved)["params"]
    )


def test_a_models_own_chat_template_is_used_and_goes_along(config, tmp_path, instructions) -> None:
    """From a Hugging Face directory, of which the checkpoints keep the tokenizer's files alone."""
    llama = export(pretrain(config, tmp_path / "pretrained"), tmp_path / "llama")
    template = (
        "{% for m in messages %}{{ '[' + m.role + ']' + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
    )
    settings = json.loads((llama / "tokenizer_config.json").read_text())
    extra = {"chat_template": template, "model_max_length": 77}
    (llama / "tokenizer_config.json").write_text(json.dumps(settings | extra))
    tuning = SFTConfig(batch_size=8, epochs=1, tensorboard=False, compile_cache="")
    final = sft(tuning, llama, instructions, tmp_path / "tuned")
    kept = {p.name for p in (final / "tokenizer").iterdir()}
    assert kept >= {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert not kept & {"config.json", "model.safetensors"}
    assert (final / "tokenizer/chat_template.jinja").read_text() == template
    about = json.loads((final / "about/metadata").read_text())
    assert about["run"]["template"]["path"] == str(llama / "tokenizer_config.json")
    out = export(tmp_path / "tuned", tmp_path / "out")
    assert (out / "chat_template.jinja").read_text() == template
    assert json.loads((out / "tokenizer_config.json").read_text())["model_max_length"] == 77


def test_the_export_loads_in_transformers(config, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    checkpoint = pretrain(config, tmp_path / "run")
    export(tmp_path / "run", tmp_path / "llama")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "llama")
    tokens = tokenizer("The assert statement", return_tensors="pt").input_ids
    with torch.no_grad(), jax.transfer_guard("allow"):
        ours = load_model(checkpoint).model(jnp.asarray(tokens.numpy()))
        np.testing.assert_allclose(ours, theirs(tokens).logits.numpy(), atol=1e-4)
