"""Plans for devices that are not here agree with what was measured, compiled, and published."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from synthdiv import config as configuration
from synthdiv.errors import UserError
from synthdiv.model import ModelConfig
from synthdiv.training import MeshConfig, OptimizerConfig, PretrainConfig, plan_pretrain
from synthdiv.training.plan import Target, plan
from synthdiv.training.step import StepConfig

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAMES = {"1.4B": "1b4", "350M": "350m", "7B": "7b"}
# How the tables word what was changed; rows of code that was not kept are left out.
SETTINGS = {
    "": {},
    "layers scanned": {"scan_layers": True},
    "loss_chunk 16,384": {"loss_chunk": 16384},
    '(`remat="mlp"`)': {"remat": "mlp"},
}
MEASURED = re.findall(
    r"^\| \**(1\.4B|350M), (\d+)\** \| (.*?) ?\| \**[\d.]+%\** \| ([\d,]+) \| (\d+) GB \|$",
    (DOCS / "diary.md").read_text(),
    re.MULTILINE,
)
COMPILED = re.findall(
    r"^\| (1\.4B|7B), \d+ ?(\S*) \| ([\d, ]+) \| (\d+) \| (\d+) GB \| ([\d.]+) GB \|",
    (DOCS / "scaling.md").read_text(),
    re.MULTILINE,
)


def settings(name: str, **changes) -> tuple[StepConfig, ModelConfig]:
    found = configuration.load([ModelConfig], [f"configs/model/{NAMES[name]}.gin"])
    model = dataclasses.replace(found.get(ModelConfig), **changes)
    return StepConfig(model, OptimizerConfig()), model


@pytest.mark.parametrize(
    ("name", "sequences", "changes", "speed", "gigabytes"),
    [row for row in MEASURED if row[2] in SETTINGS],
)
def test_memory_and_speed_are_those_that_were_measured_on_an_h200(
    name: str, sequences: str, changes: str, speed: str, gigabytes: str
) -> None:
    step, model = settings(name, **SETTINGS[changes])
    rate = float(speed.replace(",", ""))
    reached = rate * model.flops_per_token(2048) / 989e12
    target = Target("h200", mfu=reached)
    figures = plan(step, MeshConfig(), int(sequences), 2048, 100, target).figures
    assert figures["bytes_per_device"] / 1e9 == pytest.approx(float(gigabytes), rel=0.05)
    assert figures["tokens_per_second"] == pytest.approx(rate)
    assert figures["fits"] and figures["largest_micro_batch"] >= int(sequences)


def test_the_tables_are_read() -> None:
    assert len([row for row in MEASURED if row[2] in SETTINGS]) >= 6
    assert len(COMPILED) >= 5


@pytest.mark.parametrize(("name", "changes", "mesh", "sequences", "gigabytes", "sent"), COMPILED)
def test_memory_and_traffic_are_those_of_compiled_programs(
    name: str, changes: str, mesh: str, sequences: str, gigabytes: str, sent: str
) -> None:
    """As docs/scaling.md has them, of benchmarks/programs.py."""
    step, _ = settings(name, **SETTINGS[changes])
    data, fsdp, tensor = map(int, mesh.split(","))
    count = data * fsdp * tensor
    target = Target("h100", count)
    batch = int(sequences) * count
    figures = plan(step, MeshConfig(data, fsdp, tensor), batch, 2048, 100, target).figures
    assert figures["bytes_per_device"] / 1e9 == pytest.approx(float(gigabytes), rel=0.1)
    assert figures["sent_bytes_per_step"] / 1e9 == pytest.approx(float(sent), rel=0.13)


def test_the_papers_1b4_on_32_a100() -> None:
    """572K steps of 128 sequences, 150 billion tokens; it names no hours, so 6ND is the check."""
    found = configuration.load([PretrainConfig], ["configs/pretrain/1b4.gin"])
    planned = plan_pretrain(found.get(PretrainConfig), target=Target("a100", 32))
    figures = planned.figures
    assert figures["steps"] == pytest.approx(572e3, rel=0.01)
    assert figures["parameters"] == pytest.approx(1.28e9, rel=0.01)
    assert figures["fits"], "the paper's micro-batch of four sequences a GPU went on 80 GB"
    hours = 6 * 1.28e9 * 150e9 / (0.4 * 312e12) / 3600
    assert figures["device_hours_6nd"] == pytest.approx(hours, rel=0.01)
    assert figures["device_hours"] == pytest.approx(hours, rel=0.1)
    assert figures["hours"] == pytest.approx(figures["device_hours"] / 32)
    assert figures["usd"] == pytest.approx(figures["device_hours"] * 2.5)
    assert "32 x A100" in str(planned) and "USD" in str(planned)


@pytest.mark.parametrize(
    ("name", "device", "count", "batch", "words"),
    [
        ("1.4B", "v5e", 8, 128, "--bind=Pretrain.accumulate="),
        ("7B", "a100-40gb", 4, 4, '--bind="Model.remat='),
        ("7B", "v5e", 4, 8, "no setting on 4 of them; --devices="),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(
    name: str, device: str, count: int, batch: int, words: str
) -> None:
    step, model = settings(name)
    planned = plan(step, MeshConfig(), batch, 2048, 100, Target(device, count))
    assert planned.figures["fits"] is False
    said = planned.facts["what would fit"]
    assert words in said
    if "--bind" not in said:
        return
    bound = re.findall(r"--bind=\"?([\w.]+)=([^\" ]+)", said)
    binding = [f"{key}={value}" for key, value in bound]
    made = configuration.load([PretrainConfig], [f"configs/model/{NAMES[name]}.gin"], binding)
    run = dataclasses.replace(made.get(PretrainConfig), batch_size=batch, tokens=1e9)
    assert plan_pretrain(run, target=Target(device, count)).figures["fits"]


def test_a_mesh_that_does_not_go_is_replaced_for_absent_devices_alone() -> None:
    step, _ = settings("1.4B")
    planned = plan(step, MeshConfig(), 128, 2048, 100, Target("h100", 512))
    assert "does not divide into 512 parts" in planned.facts["not as asked"]
    assert planned.figures["mesh"]["tensor"] > 1
    with pytest.raises(UserError, match="does not divide"):
        plan(step, MeshConfig(), 128, 2048, 100, Target("h100", 7))
    with pytest.raises(UserError, match="needs 3 devices"):
        plan(step, MeshConfig(3, 1, 1), 3, 2048, 100)


def test_the_plan_is_plain_data_and_the_users_prices_count(tmp_path) -> None:
    step, _ = settings("350M")
    table = tmp_path / "mine.json"
    table.write_text(json.dumps({"devices": {"H100": {"usd_per_hour": 1.0}}}))
    target = Target("h100", 8, mfu=0.5, table=table)
    figures = plan(step, MeshConfig(), 64, 2048, 100, target).figures
    assert json.loads(json.dumps(figures)) == figures
    assert figures["usd"] == pytest.approx(figures["device_hours"])
    with pytest.raises(UserError, match="mfu=1.5"):
        Target(mfu=1.5)


@pytest.mark.slow
def test_the_compilers_figures_are_near_the_estimate_on_a_cpu() -> None:
    """Looped layers, recomputed or not: what a sequence adds is what differentiation keeps."""
    for remat in ("none", "mlp"):
        step, _ = settings("350M", layers=12, vocab_size=512, dtype="float32", remat=remat)
        sizes = (MeshConfig(), 8, 2048, 100)
        told = plan(step, *sizes, Target(compile=True)).figures["bytes_per_device"]
        assert plan(step, *sizes).figures["bytes_per_device"] == pytest.approx(told, rel=0.3)
