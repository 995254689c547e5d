"""A directory answers for the run that it was made for, finished or not, and for no other."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from synthdiv.data import ChatTemplate, MixtureConfig
from synthdiv.errors import UserError
from synthdiv.training import (
    MeshConfig,
    OptimizerConfig,
    PretrainConfig,
    SFTConfig,
    SFTOptimizerConfig,
    plan_pretrain,
    plan_sft,
    pretrain,
    sft,
)
from synthdiv.training.work import check, pretraining
from tests.training.conftest import TINY


@pytest.fixture(scope="module")
def settings(tokens) -> PretrainConfig:
    return PretrainConfig(
        batch_size=8,
        tokens=4 * 8 * 32,
        checkpoint_every=2,
        tensorboard=False,
        compile_cache="",
        model=TINY,
        mixture=MixtureConfig(sources=((str(tokens[0]), 9000.0), (str(tokens[1]), None))),
    )


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished")
    pretrain(settings, workdir)
    return workdir


def _model(**changes) -> dict:
    return {"model": dataclasses.replace(TINY, **changes)}


OTHERS = {
    "Model.layers": _model(layers=1),
    "Model.rope_theta": _model(rope_theta=20000.0),
    "Model.norm_eps": _model(norm_eps=1e-6),
    "Model.dtype": _model(dtype="bfloat16"),
    "Optimizer.learning_rate": {"optimizer": OptimizerConfig(learning_rate=1e-4)},
    "Optimizer.name": {"optimizer": OptimizerConfig(name="muon")},
    "Pretrain.seed": {"seed": 5},
    "Pretrain.segments": {"segments": False},
    "Pretrain.batch_size": {"batch_size": 16, "tokens": 8 * 8 * 32},
    "steps": {"tokens": 8 * 8 * 32},
}


@pytest.mark.parametrize("state", ["finished", "unfinished"])
@pytest.mark.parametrize("name", OTHERS)
def test_another_run_is_refused_by_name(settings, finished, tmp_path, name, state) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    if state == "unfinished":
        (workdir / "done.json").unlink()
        shutil.rmtree(workdir / "checkpoints" / "4")
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*")}
    other = dataclasses.replace(settings, **OTHERS[name])
    for way in (pretrain, plan_pretrain):
        with pytest.raises(UserError, match=f"holds another training run .*{name} was .* is now"):
            way(other, workdir)
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*")} == before


def test_another_mixture_is_refused_and_the_same_one_elsewhere_is_not(
    settings, finished, tokens, tmp_path
) -> None:
    weights = MixtureConfig(sources=((str(tokens[0]), 9000.0), (str(tokens[1]), 50.0)))
    with pytest.raises(UserError, match="Mixture.odd.sequences was"):
        pretrain(dataclasses.replace(settings, mixture=weights), finished)
    swapped = MixtureConfig(sources=settings.mixture.sources[::-1])
    with pytest.raises(UserError, match="Mixture.names was"):
        pretrain(dataclasses.replace(settings, mixture=swapped), finished)
    shutil.copytree(tokens[0], tmp_path / "even")
    moved = MixtureConfig(sources=((str(tmp_path / "even"), 9000.0), (str(tokens[1]), None)))
    pretrain(dataclasses.replace(settings, mixture=moved), finished)
    manifest = json.loads((tmp_path / "even/manifest.json").read_text())
    manifest["corpus_sha256"] = "0" * 64
    (tmp_path / "even/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="Mixture.even.content was"):
        pretrain(dataclasses.replace(settings, mixture=moved), finished)


def test_what_does_not_decide_the_result_may_change(settings, finished) -> None:
    upkeep = dataclasses.replace(
        settings,
        log_every=3,
        checkpoint_every=0,
        keep=1,
        on_bad="skip",
        accumulate=2,
        mesh=MeshConfig(data=-1, fsdp=1),
        model=dataclasses.replace(TINY, remat="full", loss_chunk=32),
    )
    assert pretrain(upkeep, finished) == finished / "checkpoints" / "4"
    assert plan_pretrain(upkeep, finished).figures["steps"] == 4


def test_a_directory_of_an_older_version_answers_for_what_it_describes(
    settings, finished, tmp_path
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    (workdir / "fingerprint.json").unlink()
    with pytest.raises(UserError, match="Optimizer.learning_rate was 0.0003 and is now 0.1"):
        pretrain(
            dataclasses.replace(settings, optimizer=OptimizerConfig(learning_rate=0.1)), workdir
        )
    assert pretrain(settings, workdir).name == "4"


def _instructions(path: Path, word: str) -> Path:
    rows = [{"instruction": f"Say {word} {i}.", "output": f"{word} {i}"} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_fine_tuning_answers_for_its_model_its_data_and_its_template(
    settings, finished, tmp_path
) -> None:
    tuning = SFTConfig(
        batch_size=8,
        epochs=1,
        tensorboard=False,
        compile_cache="",
        optimizer=SFTOptimizerConfig(learning_rate=1e-3),
    )
    data, workdir = _instructions(tmp_path / "in.jsonl", "yes"), tmp_path / "tuned"
    final = sft(tuning, finished, data, workdir)
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    assert sft(tuning, moved, data, workdir) == final  # the same weights elsewhere

    other = pretrain(dataclasses.replace(settings, seed=9), tmp_path / "other")
    plain = tmp_path / "plain.jinja"
    plain.write_text("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
    another = _instructions(tmp_path / "another.jsonl", "no")
    for config, model, instructions, named in (
        (tuning, other, data, "init_from was"),
        (tuning, finished, another, "input was"),
        (dataclasses.replace(tuning, epochs=2), finished, data, "SFT.epochs was 1 and is now 2"),
        (
            dataclasses.replace(tuning, template=ChatTemplate(str(plain))),
            finished,
            data,
            "chat template was",
        ),
        (
            dataclasses.replace(tuning, template=ChatTemplate(system="Be brief.")),
            finished,
            data,
            "ChatTemplate.system was",
        ),
    ):
        for way in (sft, plan_sft):
            with pytest.raises(UserError, match=f"holds another training run .*{named}"):
                way(config, model, instructions, workdir)
    with pytest.raises(UserError, match="no instruction data"):
        sft(tuning, finished, tmp_path / "nothing.jsonl", workdir)
    with pytest.raises(UserError, match="no checkpoint"):
        sft(tuning, tmp_path / "nothing", data, workdir)


def test_checking_a_new_directory_makes_nothing(settings, tmp_path, tokens) -> None:
    from synthdiv.data import batches

    work = pretraining(settings, batches(settings.mixture, 8), 4)
    check(tmp_path / "new", work)
    assert not list(tmp_path.iterdir())
