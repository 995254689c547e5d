"""Accelerators that a run may have: what one can do, and what an hour of it costs.

The table is configs/devices.json; a plan can be given another file of the same form, whose rows are
added to it, or hold what differs.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthdiv.config import find
from synthdiv.errors import UserError, closest
from synthdiv.files import read_json

TABLE = "configs/devices.json"
MFU = 0.4  # that training is taken to reach where nobody says another


def check_mfu(mfu: float) -> None:
    """Refuses a share of a device's peak that is none.

    Raises:
        UserError: it is not above 0 and at most 1.
    """
    if not 0 < mfu <= 1:
        raise UserError(f"`mfu={mfu:g}` is no share of a device's peak: it is above 0, at most 1")


@dataclasses.dataclass(frozen=True)
class Device:
    """One accelerator; None is what nobody says, and so is 0 of a device at hand.

    Attributes:
        name: of the row.
        bf16_flops: dense bf16 FLOP/s.
        memory: bytes.
        bandwidth: bytes a second from the memory.
        link: bytes a second that it sends to the devices it is linked with.
        linked: how many devices such links join, itself included.
        network: bytes a second that it sends beyond them.
        usd_per_hour: of one.
        source, price_source: where these come from.
        names: one of them is within what JAX or a user calls it; without any, the row's name.
    """

    name: str
    bf16_flops: float
    memory: float
    bandwidth: float | None = None
    link: float | None = None
    linked: int = 1
    network: float | None = None
    usd_per_hour: float | None = None
    source: str = ""
    price_source: str = ""
    names: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        """JAX's name of its kind."""
        if self.name == "cpu":
            return "cpu"
        return "tpu" if self.name.startswith("TPU") else "gpu"


@functools.cache
def devices(table: str | Path | None = None) -> Mapping[str, Device]:
    """Returns the known devices by name.

    Args:
        table: a file whose rows are added to ours, or change them.

    Raises:
        UserError: it is no table of devices; names the row.
    """
    rows: dict[str, dict[str, Any]] = {}
    for file in (TABLE, table):
        if file is None:
            continue
        path = find(file)
        found = read_json(path)
        found = found.get("devices") if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise UserError(f"{path} is no table of devices: it needs an object 'devices'")
        for name, row in found.items():
            if not isinstance(row, dict):
                raise UserError(f"{path}: {name!r} is no object")
            rows[name] = rows.get(name, {}) | row
            _check(path, name, rows[name])
    return {name: Device(name, **row) for name, row in rows.items()}


def of_kind(kind: str, table: str | Path | None = None) -> Device | None:
    """Returns the device that JAX calls `kind`, or None if the table does not have it.

    "NVIDIA H100 PCIe" is the "H100 PCIe", though "H100" is in it too: the longest name counts.
    """
    named = {
        name: device
        for device in devices(table).values()
        for name in device.names or (device.name,)
        if name.lower() in kind.lower()
    }
    return named[max(named, key=len)] if named else None


def device_named(name: str, table: str | Path | None = None) -> Device:
    """Returns a device by the name that a user gives it: "h100", "a100-40gb", "v5e", "TPU v5p".

    Raises:
        UserError: it is not in the table.
    """
    said = name.strip().replace("_", " ")
    found = of_kind(said, table) or of_kind(f"TPU {said}", table)
    if found is None or not said:
        known = devices(table)
        raise UserError(
            f"no device {name!r} is known{closest(name, known)}; known: "
            f"{', '.join(known)}; others with `device_table=FILE`, as {TABLE}"
        )
    return found


def _check(path: Path, name: str, row: dict[str, Any]) -> None:
    """Refuses a row that makes no device; a list of names becomes a tuple."""
    fields = {field.name: field for field in dataclasses.fields(Device) if field.name != "name"}
    for key, value in row.items():
        if key not in fields:
            raise UserError(
                f"{path}: {name!r} has {key!r}, which is not known{closest(key, fields)}"
            )
        if key == "names":
            if not (isinstance(value, list | tuple) and value):
                raise UserError(f"{path}: names of {name!r} is {value!r}, no list")
            row[key] = tuple(map(str, value))
        elif not key.endswith("source"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            optional = value is None and fields[key].default is None
            least = 0 if key == "usd_per_hour" else 1
            if not (optional or (number and least <= value < math.inf)):
                raise UserError(
                    f"{path}: {key} of {name!r} is {value!r}, no number from {least} on"
                )
    if lacking := [key for key in ("bf16_flops", "memory") if key not in row]:
        raise UserError(f"{path}: {name!r} lacks {' and '.join(lacking)}")
