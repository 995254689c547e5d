"""Compiling for accelerators that are not here: JAX takes a description in the place of a device.

It needs the accelerator's compiler: `pip install "jax-cuda12-plugin[with-cuda]"` for NVIDIA's
Hopper, `libtpu` for TPUs. Nothing runs.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax

from synthdiv.errors import UserError
from synthdiv.training.hardware import Device

# What XLA asks about a GPU: NVIDIA's data sheets, and the CUDA programming guide's table of compute
# capability 9.0.
_HOPPER = """
platform_name: "CUDA"
device_description_str: "{name}"
dnn_version_info {{ major: 9 minor: 19 }}
gpu_device_info {{
  name: "{name}" device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  driver_version: "13.0.0" runtime_version: "12.9.0" compile_time_toolkit_version: "12.9.0"
  dnn_version: "9.19.0"
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 threads_per_warp: 32
  device_memory_size: {memory} memory_bandwidth: {bandwidth} l2_cache_size: 52428800
  device_address_bits: 64
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
}}
"""
_HOPPERS = {"H200": "NVIDIA H200", "H100": "NVIDIA H100 80GB HBM3"}
_TORUS = {"TPU v5p": ("v5p", 3), "TPU v4": ("v4", 3), "TPU v5e": ("v5e", 2), "TPU v6e": ("v6e", 2)}


def absent_devices(device: Device, count: int) -> list[Any]:
    """Returns `count` devices to compile for.

    Raises:
        UserError: nobody has described such devices, or their compiler is not installed.
    """
    from jax.experimental import topologies

    jax.devices()  # this machine's own, before another stands in
    if device.name in _HOPPERS:
        name, hosts = _HOPPERS[device.name], max(1, count // device.linked)
        assert device.bandwidth is not None
        sizes = {"memory": int(device.memory), "bandwidth": int(device.bandwidth)}
        settings = {
            "topology": f"1x{hosts}x{count // hosts}",
            "target_config": _HOPPER.format(name=name, **sizes),
        }
        asked = (device.name, "cuda")
    elif device.name in _TORUS:
        family, dimensions = _TORUS[device.name]
        asked, settings = (f"{family}:{_torus(count, dimensions)}", "tpu"), {}
    else:
        known = ", ".join([*_HOPPERS, *_TORUS])
        raise UserError(f"`compile` knows {known} without having them, not {device.name}")
    try:
        found = topologies.get_topology_desc(*asked, **settings).devices
    except Exception as error:  # JAX raises several kinds, with a long trace
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        need = "libtpu" if asked[1] == "tpu" else '"jax-cuda12-plugin[with-cuda]"'
        raise UserError(
            f"cannot compile for {count} x {device.name} ({reason}): is its compiler installed, "
            f"pip install {need}?"
        ) from error
    return list(found)


@contextlib.contextmanager
def standing_in(devices: list[Any]) -> Iterator[None]:
    """Makes the choice of kernels ask these devices instead of this machine's."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    capability = tuple(map(int, getattr(devices[0], "compute_capability", "0.0").split(".")))
    with (
        mock.patch.object(jax, "default_backend", lambda: devices[0].platform),
        mock.patch.object(jax, "local_devices", lambda: devices),
        mock.patch.object(cudnn, "check_cudnn_version", lambda: 91900),
        mock.patch.object(
            cudnn,
            "check_compute_capability",
            lambda least: capability >= tuple(map(int, least.split("."))),
        ),
    ):
        yield


def _torus(count: int, dimensions: int) -> str:
    """The sizes of a torus of `count` chips, as even as powers of two are: 8 is 2x2x2 or 2x4."""
    sizes = [1] * dimensions
    while math.prod(sizes) < count:
        sizes[sizes.index(min(sizes))] *= 2
    return "x".join(map(str, sorted(sizes) if dimensions == 2 else sizes))
