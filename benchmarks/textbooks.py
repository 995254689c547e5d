"""Cuts corpora of equally many LLM-written textbook sections, on few courses or on many.

    python benchmarks/textbooks.py --data=DATA --output=runs/textbooks_corpora
    synthdiv study --config=configs/study/textbooks.gin --workdir=runs/textbooks

DATA holds `library_of_phi_*` (textbooks that Mistral 7B and GPT-3.5 wrote from the syllabi of real
courses) and `tinystories` as .jsonl.gz in `synthetic/`, other text in `text/` and questions in
`eval/`.

Writes one corpus a file, of `SECTIONS` sections each: `T courses x G sections`, the smaller set of
courses always part of the larger, and two of one field alone. Sections are cut so that the
corpora have the same lengths, rank by rank, so the same words. Also writes texts that no corpus
holds: sections on courses that no corpus has, of GPT-3.5, stories, Wikipedia and web pages.
"""

import argparse
import gzip
import json
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from synthdiv.baselines.lengths import match_lengths
from synthdiv.files import write_text

SECTIONS = 2048
COURSES = (8, 16, 32, 64, 128, 512)
FIELDS = ("computer science", "economics")
NEW_COURSES = 64  # that no corpus has
HELDOUT_BYTES = 60_000  # of each held-out text
TASKS = ("arc_easy_test.jsonl", "piqa_validation.jsonl", "hellaswag_validation.jsonl.gz")

Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of the data")
    parser.add_argument("--output", type=Path, default=Path("runs/textbooks_corpora"))
    options = parser.parse_args()
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    synthetic, text = options.data / "synthetic", options.data / "text"
    mistral = synthetic / "library_of_phi_mistral_7b_ft_full_synth_nested.jsonl.gz"
    corpora, new = cut(list(read(mistral)))
    for name, rows in corpora.items():
        write(output / f"{name}.jsonl", rows)
        print(f"{name}: {len(rows)} sections of {len({r['course'] for r in rows})} courses")
    heldout = {
        "new_courses": new,
        "gpt_textbooks": read(
            synthetic / "library_of_phi_gpt_3p5_turbo_instruct_full_synth.jsonl.gz"
        ),
        "stories": read(synthetic / "tinystories.jsonl.gz"),
        "wikipedia": read(text / "wikipedia_boolq_passages.jsonl.gz"),
        "web": read(text / "c4_sample_300.jsonl.gz"),
    }
    for name, some in heldout.items():
        write(output / f"{name}.jsonl", sample(some))
    (output / "tasks").mkdir(exist_ok=True)
    for task in TASKS:
        shutil.copyfile(options.data / "eval" / task, output / "tasks" / task)


def cut(sections: Sequence[Row]) -> tuple[dict[str, list[Row]], list[Row]]:
    """Returns corpora by name, and the sections of the courses that none of them has."""
    draw = random.Random(0)
    courses: dict[int, list[Row]] = defaultdict(list)
    for row in sections:
        courses[row["course_rank"]].append(row)
    for rows in courses.values():
        draw.shuffle(rows)
    # Courses of the largest corpus come first; what is held out is drawn from the others.
    left_out = set(draw.sample([rank for rank in courses if rank >= max(COURSES)], NEW_COURSES))
    new = [row for rank in sorted(left_out) for row in courses[rank]]
    corpora = {
        f"T{topics}": [row for rank in range(topics) for row in courses[rank][: SECTIONS // topics]]
        for topics in COURSES
    }
    for field in FIELDS:
        of_field = [
            [row for row in courses[rank] if row["field"] == field]
            for rank in sorted(set(courses) - left_out)
        ]
        by_turns = chain.from_iterable(zip_longest(*of_field))  # as many of each as there are
        corpora[field.replace(" ", "_")] = [row for row in by_turns if row][:SECTIONS]
    return shortened(corpora), new


def shortened(corpora: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """Cuts texts at the end of a word, so that all corpora have the same lengths in words."""
    words = [np.array([len(row["text"].split()) for row in rows]) for rows in corpora.values()]
    return {
        name: [
            {**row, "text": re.match(rf"\s*(\S+\s*){{{limit}}}", row["text"])[0].rstrip()}  # type: ignore[index]
            for row, limit in zip(rows, limits, strict=True)
        ]
        for (name, rows), limits in zip(corpora.items(), match_lengths(words), strict=True)
    }


def sample(rows: Iterable[Row]) -> Iterator[Row]:
    """Draws documents of about `HELDOUT_BYTES` in all."""
    drawn = list(rows)
    random.Random(0).shuffle(drawn)
    size = 0
    for row in drawn:
        if size >= HELDOUT_BYTES:
            return
        size += len(row["text"].encode())
        yield row


def read(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write(path: Path, rows: Iterable[Row]) -> None:
    kept = ("text", "course", "field", "title")
    lines = ({key: row[key] for key in kept if key in row} for row in rows)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines))


if __name__ == "__main__":
    main()
