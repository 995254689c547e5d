"""Compares the figures of this tree with those of another commit's, to the last digit.

    git worktree add ../before COMMIT
    python benchmarks/same_figures.py --other=../before --keep=../figures
    python benchmarks/same_figures.py --other=../before --keep=../figures --only=score_sets,study

A fixed list of real runs, small enough for two cores, is done with both trees on the same inputs.
Everything a run found is compared: the numbers of score.json, every round, corpora, tokens, losses,
accuracies. What the other commit found is kept in KEEP/other/ITEM and not done again; this tree's
runs are done anew each time, in KEEP/this/ITEM or --mine. Versions, times and paths are left out.
A value that only this tree has is told, but is no difference. Prints a line an item, or with --json
all of it; exits with 1 if anything differs.
"""

import argparse
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from real_runs import FINISHED, ITEMS, Tree, make_inputs

THIS = Path(__file__).resolve().parents[1]
SHOWN = 12  # differences of an item

# What differs from run to run or from version to version, and is no figure.
LEFT_OUT = frozenset(
    [
        "synthdiv_version",
        "seconds",
        "command",
        "fingerprint",
        "checkpoint",
        "path",
        "paths",
        "date",
        "versions",
        "version",
        "tokens_per_second",
        "mfu",
        "goodput",
    ]
)


def differences(other: Any, this: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yields ("differs" or "new", words) for every place where two results are not the same."""
    if isinstance(other, dict) and isinstance(this, dict):
        for name in sorted({*other, *this} - LEFT_OUT):
            place = f"{where}.{name}" if where else str(name)
            if name not in other:
                yield "new", place
            elif name not in this:
                yield "differs", f"{place} is gone (was {_short(other[name])})"
            else:
                yield from differences(other[name], this[name], place)
    elif isinstance(other, list) and isinstance(this, list) and len(other) == len(this):
        for index, (one, two) in enumerate(zip(other, this, strict=True)):
            yield from differences(one, two, f"{where}[{index}]")
    elif other != this and not _both_nan(other, this):
        yield "differs", f"{where}: {_short(other)} -> {_short(this)}"


def _both_nan(one: Any, two: Any) -> bool:
    return all(isinstance(value, float) and math.isnan(value) for value in (one, two))


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def figures(name: str, root: Path, inputs: Path, folder: Path, kept: Path) -> Any:
    """Does one item with the tree at `root` and returns what it found, as JSON would give it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = ITEMS[name](Tree(root, inputs, folder, kept))
    text = json.dumps(found, default=str, ensure_ascii=False)
    text = text.replace(str(folder), "FOLDER").replace(str(root), "ROOT")
    (folder / FINISHED).write_text(text, encoding="utf-8")
    return json.loads(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", type=Path, required=True, help="checkout of the other commit")
    parser.add_argument("--keep", type=Path, required=True, help="folder for runs and inputs")
    parser.add_argument("--mine", type=Path, help="folder for this tree's runs; KEEP/this")
    parser.add_argument("--only", default=",".join(ITEMS), help="items, separated by commas")
    parser.add_argument("--prepare", action="store_true", help="only the other commit's runs")
    parser.add_argument("--json", action="store_true", help="print all differences, as JSON")
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := sorted({*names} - {*ITEMS}):
        parser.error(f"no item {', '.join(unknown)}; there are {', '.join(ITEMS)}")
    keep, other = given.keep.resolve(), given.other.resolve()
    mine = (given.mine or keep / "this").resolve()
    inputs = make_inputs(other, keep)
    all_found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        folder = keep / "other" / name
        if (folder / FINISHED).exists():
            before = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
        else:
            before = figures(name, other, inputs, folder, keep / "other")
        if given.prepare:
            print(f"{name}: kept", flush=True)
            continue
        try:
            now = figures(name, THIS, inputs, mine / name, keep / "other")
        except SystemExit as error:
            found = {"differs": [str(error)], "new": []}
        else:
            found = {"differs": [], "new": []}
            for kind, words in differences(before, now):
                found[kind].append(words)
        all_found[name] = found
        if not given.json:
            _tell(name, found)
    if given.json:
        print(json.dumps(all_found, indent=2, ensure_ascii=False))
    sys.exit(any(found["differs"] for found in all_found.values()))


def _tell(name: str, found: dict[str, list[str]]) -> None:
    differing, new = found["differs"], found["new"]
    added = f" ({len(new)} values that only this tree has)" if new else ""
    print(f"{name}: {f'{len(differing)} differences' if differing else 'equal'}{added}")
    for line in differing[:SHOWN]:
        print(f"    {line}")
    if len(differing) > SHOWN:
        print(f"    and {len(differing) - SHOWN} more")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
