"""Reads a compiled program (`jax.stages.Compiled.as_text()`): what runs, how often, in what order.

Works on the text that XLA prints for GPUs, TPUs and CPUs.
"""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

COLLECTIVES = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program."""

    name: str
    shape: str  # its result's type, e.g. "bf16[16,2048]{1,0}", or a tuple of them
    opcode: str
    operands: tuple[str, ...]
    operand_shapes: tuple[str, ...]
    attributes: str
    limit: int = 0  # the value of a whole number that is constant

    @property
    def called(self) -> list[str]:
        """The computations that it runs: a fusion's, a loop's, a branch's."""
        one = re.findall(r"(?:calls|body)=%?([\w.-]+)", self.attributes)
        many = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
        return one + (re.findall(r"[\w.-]+", many[1]) if many else [])

    @property
    def target(self) -> str:
        """The function that a custom call calls; "" of others."""
        found = re.search(r'custom_call_target="([^"]+)"', self.attributes)
        return found[1] if found else ""

    @property
    def collective(self) -> str:
        """Which of COLLECTIVES it starts; "" for none."""
        name = self.opcode.removesuffix("-start")
        return name if name in COLLECTIVES else ""

    @property
    def product(self) -> str:
        """The types that it multiplies, e.g. "bf16 x bf16", if it is a matrix product, or ""."""
        if self.opcode not in ("dot", "convolution"):
            return ""
        return " x ".join(arrays(shape)[0][0] for shape in self.operand_shapes[:2])

    @property
    def flops(self) -> float:
        """FLOPs of a dot; 0 of others, and of the padded convolutions that TPUs multiply by."""
        if self.opcode != "dot":
            return 0.0
        across = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", self.attributes)
        left = arrays(self.operand_shapes[0])[0][1]
        summed = [left[int(d)] for d in across[1].split(",") if d] if across else []
        return 2.0 * float(np.prod(arrays(self.shape)[0][1])) * float(np.prod(summed))

    @property
    def groups(self) -> np.ndarray:
        """The devices that a collective joins: (groups, devices of one)."""
        return _groups(self.attributes)

    @property
    def moved(self) -> float:
        """Bytes that a device sends in a collective, by the ring that moves the fewest."""
        given = sum(size_of(shape) for shape in self.operand_shapes)
        n = self.groups.shape[1]
        others = (n - 1) / n
        return {
            "all-gather": given * (n - 1),
            "reduce-scatter": given * others,
            "all-reduce": 2 * given * others,
            "all-to-all": given * others,
            "collective-permute": given,
        }[self.collective]


@dataclasses.dataclass(frozen=True)
class Program:
    """The computations of a program, each in the order in which it runs."""

    computations: dict[str, list[Instruction]]
    entry: str

    def __iter__(self) -> Iterator[tuple[Instruction, int, bool]]:
        """Yields every instruction, how often it runs, and whether it does in a loop."""
        for name, (runs, looped) in self._runs().items():
            for instruction in self.computations[name]:
                yield instruction, runs, looped

    def _runs(self) -> dict[str, tuple[int, bool]]:
        found: dict[str, tuple[int, bool]] = {}

        def visit(name: str, runs: int, looped: bool) -> None:
            before, was_looped = found.get(name, (0, False))
            found[name] = before + runs, looped or was_looped
            for instruction in self.computations[name]:
                for called in instruction.called:
                    inside = looped or instruction.opcode == "while"
                    visit(called, runs * self._trips(instruction), inside)

        visit(self.entry, 1, False)
        return found

    def _trips(self, instruction: Instruction) -> int:
        """How often a loop's body runs, 1 if that is not known beforehand; 1 of all others."""
        condition = re.search(r"condition=%?([\w.-]+)", instruction.attributes)
        if not condition:
            return 1
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', instruction.attributes)
        if known:
            return int(known[1])
        # A TPU's program does not say it, but its loops count from 0 to the only constant.
        limits = [one.limit for one in self.computations[condition[1]] if one.limit]
        return limits[0] if len(limits) == 1 else 1


def read(text: str) -> Program:
    """Returns the program that a text describes."""
    computations: dict[str, list[Instruction]] = {}
    entry = ""
    shapes: dict[str, str] = {}
    here: list[Instruction] | None = None
    for line in text.splitlines():
        line = re.sub(r"/\*.*?\*/", "", line)
        opening = re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line)
        if opening:
            here, shapes = computations.setdefault(opening[2], []), {}
            entry = opening[2] if opening[1] else entry
        elif here is not None and " = " in line:
            here.append(_instruction(line, shapes))
            shapes[here[-1].name] = here[-1].shape
    return Program(computations, entry)


def _instruction(line: str, shapes: dict[str, str]) -> Instruction:
    name, _, rest = line.strip().removeprefix("ROOT ").partition(" = ")
    end = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].strip()
    opcode = rest.partition("(")[0]
    end = _closing(rest)
    operands = tuple(re.findall(r"%([\w.-]+)", rest[len(opcode) : end]))
    operand_shapes = tuple(shapes.get(operand, "") for operand in operands)
    inside = rest[len(opcode) + 1 : end]
    limit = int(inside) if opcode == "constant" and inside.isdecimal() else 0
    return Instruction(
        name.lstrip("%"), shape, opcode, operands, operand_shapes, rest[end + 1 :], limit
    )


def _closing(text: str) -> int:
    """Returns the index of the parenthesis that closes the first one."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and depth == 0:
            return i
    raise ValueError(f"no closing parenthesis in {text[:80]!r}")


def arrays(shape: str) -> list[tuple[str, tuple[int, ...]]]:
    """Returns (dtype, dimensions) of each array of a type."""
    found = re.findall(r"\b([a-z]+\d*\w*)\[([\d,]*)\]", shape)
    return [(kind, tuple(int(n) for n in dims.split(",") if n)) for kind, dims in found]


def size_of(shape: str) -> float:
    """Returns the bytes of a type's arrays."""
    total = 0.0
    for kind, dims in arrays(shape):
        width = re.search(r"\d+", kind)
        bits = int(width[0]) if width else {"pred": 8}.get(kind, 0)
        total += float(np.prod(dims)) * bits / 8
    return total


def _groups(attributes: str) -> np.ndarray:
    """Reads replica_groups in the three ways that XLA writes them."""
    mesh = re.search(
        r"replica_groups=mesh\[([^\]]*)\]"
        r"(?:, device_ids=\(\[([\d,]+)\]T\(([\d,]+)\)\))? \{([^}]*)\}",
        attributes,
    )
    if mesh:
        names = re.findall(r"'(\w+)'=", mesh[1])
        sizes = [int(n) for n in re.findall(r"=(\d+)", mesh[1])]
        devices = np.arange(np.prod(sizes))
        if mesh[2]:
            turned = devices.reshape([int(n) for n in mesh[2].split(",")])
            devices = turned.transpose([int(n) for n in mesh[3].split(",")])
        joined = [names.index(axis) for axis in re.findall(r"'(\w+)'", mesh[4])]
        order = [i for i in range(len(sizes)) if i not in joined] + joined
        each = int(np.prod([sizes[i] for i in joined]))
        return devices.reshape(sizes).transpose(order).reshape(-1, each)
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", attributes)
    if iota:
        sizes = [int(n) for n in iota[3].split(",")]
        order = [int(n) for n in iota[4].split(",")] if iota[4] else list(range(len(sizes)))
        devices = np.arange(np.prod(sizes)).reshape(sizes).transpose(order)
        return devices.reshape(int(iota[1]), int(iota[2]))
    listed = re.search(r"replica_groups=\{(\{[\d,{}]*\})\}", attributes)
    if listed:
        rows = re.findall(r"\{([\d,]+)\}", listed[1])
        return np.array([[int(n) for n in row.split(",")] for row in rows])
    return np.zeros((1, 1), int)
