"""The Parquet files of a score directory: its rounds, and the documents that they showed."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from synthdiv.diversity.agent import Round
from synthdiv.diversity.documents import Shown
from synthdiv.files import atomic_path


def write_rounds(path: Path, rounds: Sequence[Round], policy: str) -> None:
    """Writes rounds.parquet; docs/formats.md lists its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for round_ in rounds:
        clusters, sizes = round_.clusters, round_.sizes(policy)
        count, documents = len(sizes), sum(sizes)
        rows.append(
            {
                "round": round_.id,
                "criteria_set": round_.criteria.number,
                "indices": list(round_.documents),
                "clusters": [list(cluster.places) for cluster in clusters],
                "corrected": round_.corrected,
                "verdicts": [cluster.valid for cluster in clusters],
                "names": [cluster.name for cluster in clusters],
                "reasons": [cluster.reason for cluster in clusters],
                "C": count,
                "S": documents / count if count else None,
                "score": _known(round_.score(policy)),
                "repaired": int(round_.repaired),
                "failed": round_.failed,
                "verdict_reasons": [cluster.verdict for cluster in clusters],
                "metadata": [_json(cluster.metadata) for cluster in clusters],
                "metrics": [_json(cluster.metrics) for cluster in clusters],
            }
        )
    text, numbers = pa.list_(pa.string()), pa.list_(pa.int64())
    schema = pa.schema(
        [
            ("round", pa.int64()),
            ("criteria_set", pa.int64()),
            ("indices", numbers),
            ("clusters", pa.list_(numbers)),
            ("corrected", pa.list_(numbers)),
            ("verdicts", pa.list_(pa.bool_())),
            ("names", text),
            ("reasons", text),
            ("C", pa.int64()),
            ("S", pa.float64()),
            ("score", pa.float64()),
            ("repaired", pa.int64()),
            ("failed", pa.bool_()),
            ("verdict_reasons", text),
            ("metadata", text),
            ("metrics", text),
        ]
    )
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="zstd")


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _json(values: Mapping[str, object]) -> str:
    return json.dumps(dict(values), ensure_ascii=False)


def write_values(path: Path, rounds: Sequence[Round]) -> None:
    """Writes values.parquet: every document of every round with its value at each level."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for round_ in rounds:
        codebook = round_.criteria.codebook
        if codebook is None:
            continue
        for index, codes in zip(round_.documents, round_.codes, strict=not round_.failed):
            row: dict[str, object] = {
                "round": round_.id,
                "criteria_set": round_.criteria.number,
                "index": index,
                "codes": list(codes),
            }
            for number, facet in enumerate(codebook.facets):
                for depth, level in enumerate(facet.levels):
                    label = codebook.label(number, codes[number], depth)
                    row[f"{facet.name}.{level.name}"] = codebook.called(number, label)
            rows.append(row)
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary, compression="zstd")


def write_documents(path: Path, documents: Mapping[int, Shown]) -> None:
    """Writes documents.parquet: the documents as the judge saw them, with their provenance."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "index": index,
            "id": shown.id,
            "text": shown.text,
            "provenance": json.dumps(dict(shown.provenance), ensure_ascii=False, default=str),
        }
        for index, shown in sorted(documents.items())
    ]
    schema = pa.schema(
        [
            ("index", pa.int64()),
            ("id", pa.string()),
            ("text", pa.string()),
            ("provenance", pa.string()),
        ]
    )
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="zstd")
