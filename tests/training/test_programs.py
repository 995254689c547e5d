"""What the compiler makes of the step: what crosses the network, and what the kernels are.

Programs for eight CPU devices are read by default; those for a GPU and a TPU where their compilers
are installed, which need no device (see benchmarks/programs.py).
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import hlo
from tests.conftest import QUICKLY_COMPILED

ROOT = Path(__file__).resolve().parents[2]
GPU = importlib.util.find_spec("jax_cuda12_plugin") is not None
needs_gpu_compiler = pytest.mark.skipif(
    not GPU, reason="the compiler for NVIDIA GPUs (jax-cuda12-plugin) is not installed"
)

LOOP = """
HloModule small, is_scheduled=true

%body (p: (s32[], bf16[8,4])) -> (s32[], bf16[8,4]) {
  %p = (s32[], bf16[8,4]{1,0}) parameter(0)
  %x = bf16[8,4]{1,0} get-tuple-element(%p), index=1
  %w = bf16[4,4]{1,0} constant({...})
  %y = bf16[8,4]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %s = ((bf16[8,4]{1,0}), bf16[8,32]{1,0}) all-gather-start(%y), replica_groups=[1,8]<=[8]
  ROOT %t = (s32[], bf16[8,4]{1,0}) tuple(%p, /*index=1*/%y)
}

%until (p: (s32[], bf16[8,4])) -> pred[] {
  %q = (s32[], bf16[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%q), index=0
  %n = s32[] constant(7)
  ROOT %c = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: bf16[8,4]) -> bf16[8,4] {
  %a = bf16[8,4]{1,0} parameter(0)
  %r = f32[6]{0} all-reduce(%a), replica_groups=mesh['x'=2,'y'=4] {'x'}, to_apply=%body
  %d = f32[6]{0} all-gather(%a), replica_groups=mesh['x'=4,'y'=2], device_ids=([2,4]T(1,0)) {'y'}
  ROOT %l = (s32[], bf16[8,4]{1,0}) while(%a), condition=%until, body=%body KNOWN
}
"""


@pytest.mark.parametrize(
    ("known", "times"), [("", 7), (', backend_config={"known_trip_count":{"n":"5"}}', 5)]
)
def test_a_program_is_read(known: str, times: int) -> None:
    program = hlo.read(LOOP.replace(" KNOWN", known))
    found = {one.name: (one, runs, looped) for one, runs, looped in program}
    product, runs, looped = found["y"]
    assert (product.product, product.flops, runs, looped) == (
        "bf16 x bf16",
        2 * 8 * 4 * 4,
        times,
        True,
    )
    gather, runs, _ = found["s"]
    assert (gather.collective, gather.moved, runs) == ("all-gather", 7 * 64, times)
    reduce, runs, looped = found["r"]
    assert (reduce.collective, runs, looped) == ("all-reduce", 1, False)
    np.testing.assert_array_equal(reduce.groups, [[0, 4], [1, 5], [2, 6], [3, 7]])
    assert reduce.moved == 2 * 64 * 1 / 2
    turned, _, _ = found["d"]
    np.testing.assert_array_equal(turned.groups, [[0, 4], [1, 5], [2, 6], [3, 7]])


EIGHT = """
import dataclasses, json, sys
from benchmarks import hlo
from synthdiv.training.mesh import MeshConfig, in_force, make_mesh
from synthdiv.training.step import abstract_batch, abstract_state, compiled_step
from tests.training.on_meshes import CONFIG, MODEL

chunks = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, loss_chunk=8))
for shape in sys.argv[1:]:
    mesh = make_mesh(MeshConfig(*map(int, shape.split(","))))
    with in_force(mesh):
        step = compiled_step(chunks, mesh).jitted.lower(
            abstract_state(chunks, mesh), abstract_batch(mesh, 16, MODEL.max_length)
        )
    program = hlo.read(step.compile().as_text())
    print(json.dumps([
        (one.collective, [dims for _, dims in hlo.arrays(one.shape)], looped)
        for one, _, looped in program if one.collective
    ]))
"""


def test_the_loss_moves_its_head_and_gradient_once() -> None:
    """Not once a chunk: there is no array as large as a device's share of them in a loop."""
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", EIGHT, "1,8,1", "2,2,2"],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"} | QUICKLY_COMPILED,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    programs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(programs) == 2
    vocabulary, hidden = 96, 32  # of on_meshes.MODEL

    def of_the_head(shapes) -> bool:
        """Rows of the vocabulary, whole or cut in two, each of hidden numbers."""
        return any(
            set(dims[-2:]) in ({vocabulary, hidden}, {vocabulary // 2, hidden}) for dims in shapes
        )

    for found in programs:
        assert any(of_the_head(shapes) for _, shapes, _ in found)
        assert not [entry for entry in found if entry[2] and of_the_head(entry[1])]


def _measure(target: str, mesh: str, changes: str) -> dict:
    case = [f"--target={target}", f"--mesh={mesh}", "--model=350m", f"--try=layers=2 {changes}"]
    done = subprocess.run(
        [sys.executable, "benchmarks/programs.py", *case],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@needs_gpu_compiler
@pytest.mark.parametrize(
    ("changes", "kernels"),
    [("", 4), ("documents=24", 4), ("attention_dropout=0.1", 0)],
    ids=["plain", "packed", "dropout"],
)
def test_on_an_h200_all_products_are_bf16(changes: str, kernels: int) -> None:
    """Forward and backward; and attention is cuDNN's, once a layer and direction."""
    figures = _measure("h200", "1,1,1", f"batch=4 {changes}")
    assert set(figures["products"]) == {"bf16 x bf16"}
    assert sum(figures["attention"].values()) == kernels
    assert not figures["collectives"]


@needs_gpu_compiler
def test_on_an_h200_fp8_multiplies_in_8_bits_all_but_the_head() -> None:
    plain, eight = (_measure("h200", "1,1,1", f"batch=4 fp8={on}") for on in (False, True))
    of_the_head = 3 * 2 * 4 * 2048 * 960 * 50304
    assert eight["products"].pop("bf16 x bf16") == of_the_head
    assert set(eight["products"]) == {
        "f8e4m3fn x f8e4m3fn",
        "f8e5m2 x f8e4m3fn",
        "f8e4m3fn x f8e5m2",
    }
    assert sum(eight["products"].values()) == sum(plain["products"].values()) - of_the_head


@needs_gpu_compiler
def test_on_eight_h100_weights_are_gathered_in_bf16_and_outside_loops() -> None:
    figures = _measure("h100x8", "1,8,1", "batch=32 loss_chunk=2048")
    assert not [one for one in figures["collectives"] if one["where"] == "in a loop"]
    large = [one for one in figures["collectives"] if one["sent_gb"] > 0.01]
    gathered = [one for one in large if one["kind"] == "all-gather"]
    assert gathered and all(one["types"].startswith("bf16") for one in gathered)
    assert {one["kind"] for one in large} <= {"all-gather", "reduce-scatter", "all-to-all"}
