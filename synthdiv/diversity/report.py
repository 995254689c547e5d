"""Writes report.html of a score directory: one file, no network, made of score.json and the rounds.

What a statistician asks comes first (score, interval, running mean, distributions), then what a
person who writes prompts asks: which clusters come back, where their documents come from, and
every round to browse. Documents are other people's text: they enter the page escaped, or as JSON
that the page's one script puts there as text. The page's policy allows that script alone.
"""

import base64
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.baselines.catalogue import METRICS
from synthdiv.diversity.recurring import Cluster, find_recurring
from synthdiv.errors import UserError
from synthdiv.files import Corpus, Document, read_json, write_text
from synthdiv.reporting import charts, pages

ROUNDS_IN_BLOCK = 100
DOCUMENTS_IN_BLOCK = 200
TEXT_BUDGET = 8_000_000  # characters of documents in one report, shared among them
LONGEST, SHORTEST = 2000, 160  # characters shown of one document, and as many of its provenance
_PLOTTED = 400  # points of the running mean


def write_report(score_dir: str | Path, corpus: Corpus | None = None) -> Path:
    """Writes `report.html` into a score directory.

    Args:
        score_dir: a directory with score.json and rounds.parquet.
        corpus: where the documents are; by default documents.parquet of the directory, else the
            corpus that score.json names, and without either the report shows indices only.

    Returns:
        The path of the report.

    Raises:
        UserError: score.json or rounds.parquet is missing.
    """
    score_dir = Path(score_dir)
    score = read_json(score_dir / "score.json")
    rounds = _read_rounds(score_dir / "rounds.parquet")
    wanted = sorted({index for round_ in rounds for index in round_["indices"]})
    documents = _documents(score_dir, score, corpus, wanted)
    page = render(score, rounds, documents)
    write_text(score_dir / "report.html", page)
    return score_dir / "report.html"


def _read_rounds(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    if not path.exists():
        raise UserError(f"no file {str(path)!r}")
    return pq.read_table(path).to_pylist()


def _documents(
    score_dir: Path, score: Mapping, corpus: Corpus | None, wanted: Sequence[int]
) -> dict[int, Document]:
    if corpus is None and (kept := score_dir / "documents.parquet").exists():
        import pyarrow.parquet as pq

        return {
            row["index"]: Document(row["id"], row["text"], json.loads(row["provenance"] or "{}"))
            for row in pq.read_table(kept).to_pylist()
        }
    if corpus is None:
        about = score.get("corpus", {})
        path = about.get("path")
        if not path or not Path(path).exists():
            return {}
        corpus = Corpus(path, about.get("text_column", "text"))
    return dict(zip(wanted, corpus.take(wanted), strict=True))


def render(
    score: Mapping[str, Any],
    rounds: Sequence[Mapping[str, Any]],
    documents: Mapping[int, Document],
) -> str:
    """Returns the page as text; see `write_report`."""
    from markupsafe import Markup

    script = pages.script("score.js")
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rounds = [_completed(round_) for round_ in rounds]
    blocks, about = _browser_blocks(rounds, documents)
    clusters = [cluster for round_ in rounds for cluster in _clusters(round_)]
    known = {i for cluster in clusters for i in cluster.documents} <= documents.keys()
    recurring = find_recurring(clusters, documents) if known else []
    return pages.render(
        "score",
        score=score,
        title=score.get("corpus", {}).get("name") or "corpus",
        script=Markup(script),
        script_hash=script_hash,
        figures=Markup(_figures(score, rounds)) if any(not r["failed"] for r in rounds) else "",
        running=Markup(_running(score, rounds)),
        baselines=_baselines(score.get("baselines", {})),
        agreement=_agreement(score.get("agreement") or {}),
        recurring=recurring,
        documents=documents,
        beginning=lambda index: _beginning(documents[index].text, 600),
        blocks=[(name, Markup(_json(block))) for name, block in blocks],
        about=Markup(_json(about)),
        has_rounds=bool(rounds),
    )


def _json(value: Any) -> str:
    """JSON that may stand inside a script element: no tag, no entity, no comment can form in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode()


def _beginning(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters] + " …"


def _completed(round_: Mapping[str, Any]) -> dict[str, Any]:
    """A round with a number in every field, so that nothing below asks again."""
    filled = dict(round_)
    for name in ("clusters", "verdicts", "names", "reasons", "indices"):
        filled[name] = filled.get(name) or []
    for name in ("C", "S", "score", "repaired", "criteria_set"):
        value = filled.get(name)
        filled[name] = value if value is not None and math.isfinite(value) else 0
    filled["failed"] = bool(filled.get("failed"))
    return filled


def _clusters(round_: Mapping[str, Any]) -> list[Cluster]:
    if round_["failed"]:
        return []
    described = zip(
        round_["clusters"],
        _padded(round_["names"], len(round_["clusters"]), ""),
        _padded(round_["reasons"], len(round_["clusters"]), ""),
        _padded(round_["verdicts"], len(round_["clusters"]), True),
        strict=True,
    )
    return [
        Cluster(
            round_["round"],
            name or "",
            reason or "",
            tuple(round_["indices"][place] for place in places),
            bool(valid),
        )
        for places, name, reason, valid in described
    ]


def _padded(values: Sequence, length: int, filler) -> list:
    return [*values[:length], *[filler] * (length - len(values))]


def _browser_blocks(
    rounds: Sequence[Mapping[str, Any]], documents: Mapping[int, Document]
) -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """What the round browser reads: blocks of rounds and of documents, and how to find them."""
    indices = sorted({i for round_ in rounds for i in round_["indices"]})
    number = {index: i for i, index in enumerate(indices)}
    characters = max(min(TEXT_BUDGET // max(len(indices), 1), LONGEST), SHORTEST)
    shown_rounds = [
        {
            "round": round_["round"],
            "set": round_["criteria_set"],
            "size": len(round_["indices"]),
            "C": round_["C"],
            "S": round_["S"],
            "score": round_["score"],
            "repaired": bool(round_["repaired"]),
            "failed": round_["failed"],
            "clusters": [
                {
                    "name": cluster.name,
                    "reason": cluster.reason,
                    "valid": cluster.valid,
                    "documents": [number[i] for i in cluster.documents],
                }
                for cluster in _clusters(round_)
            ],
        }
        for round_ in rounds
    ]
    blocks = [
        (f"rounds-{i // ROUNDS_IN_BLOCK}", shown_rounds[i : i + ROUNDS_IN_BLOCK])
        for i in range(0, len(shown_rounds), ROUNDS_IN_BLOCK)
    ]
    for start in range(0, len(indices), DOCUMENTS_IN_BLOCK):
        block = [
            _shown_document(index, documents.get(index), characters)
            for index in indices[start : start + DOCUMENTS_IN_BLOCK]
        ]
        blocks.append((f"documents-{start // DOCUMENTS_IN_BLOCK}", block))
    about = {
        "rounds": [round_["round"] for round_ in rounds],
        "flags": [_flags(round_) for round_ in shown_rounds],
        "roundsInBlock": ROUNDS_IN_BLOCK,
        "documentsInBlock": DOCUMENTS_IN_BLOCK,
        "sets": len({round_["criteria_set"] for round_ in rounds}),
    }
    return blocks, about


def _flags(round_: Mapping[str, Any]) -> list[str]:
    flags = {
        "failed": round_["failed"],
        "repaired": round_["repaired"],
        "rejected": any(not cluster["valid"] for cluster in round_["clusters"]),
        "alike": round_["C"] == 1,
    }
    return [name for name, on in flags.items() if on]


def _shown_document(index: int, document: Document | None, characters: int) -> list[Any]:
    """[index, id, text, characters left out, [[column, value], ...]]."""
    if document is None:
        return [index, str(index), "", 0, []]
    provenance = []
    left = characters
    for column, value in document.provenance.items():
        words = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        if words is None or left <= 0 or not (shown := _beginning(str(words), 120)).strip():
            continue
        provenance.append([column, shown])
        left -= len(column) + len(shown)
    text = document.text[:characters]
    return [index, document.id, text, len(document.text) - len(text), provenance]


def _figures(score: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> str:
    """Figure 10 of the paper: how C and S are distributed over the rounds."""
    done = [round_ for round_ in rounds if not round_["failed"]]
    size = max(len(round_["indices"]) for round_ in done)
    clusters = [round_["C"] for round_ in done]
    sizes = [round_["S"] for round_ in done if round_["S"]]
    parts = []
    for values, name, label, width in (
        (clusters, "clusters", "C, valid clusters in a round", 1.0),
        (sizes, "sizes", "S, mean documents in a cluster", size / 20),
    ):
        if not values:
            continue
        mean = sum(values) / len(values)
        chart = charts.histogram(
            values,
            title=f"Distribution of {label}",
            description=f"{len(values)} rounds, mean {charts.number(mean)}.",
            x_label=label,
            low=0.0,
            high=float(size),
            width=width,
            group=0 if name == "clusters" else 1,
            mark=mean,
        )
        parts.append(f"<figure>{chart}</figure>")
    return "".join(parts)


def _running(score: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> str:
    """The mean of the first n rounds against n, with 1.96 standard errors of independent rounds."""
    scores = [round_["score"] for round_ in rounds if not round_["failed"]]
    if len(scores) < 2:
        return ""
    total = squares = 0.0
    xs, ys, low, high = [], [], [], []
    step = max(len(scores) // _PLOTTED, 1)
    for count, value in enumerate(scores, 1):
        total += value
        squares += value * value
        if count >= 2 and (count % step == 0 or count == len(scores)):
            mean = total / count
            variance = max(squares - count * mean * mean, 0.0) / (count - 1)
            error = 1.96 * math.sqrt(variance / count)
            xs.append(count)
            ys.append(mean)
            low.append(mean - error)
            high.append(mean + error)
    # The first few rounds' band would flatten everything after them.
    settled = [i for i, x in enumerate(xs) if x >= min(10, len(scores) / 2)]
    floor, ceiling = min(low[i] for i in settled), max(high[i] for i in settled)
    pad = (ceiling - floor) * 0.06 or 0.1
    return charts.lines(
        [charts.Series("running mean", xs, ys, low, high)],
        title="Running mean of the score",
        description=f"After {len(scores)} rounds the mean is {charts.number(ys[-1])}.",
        x_label="rounds",
        y_label="mean score so far",
        y_range=(floor - pad, ceiling + pad),
    )


def _agreement(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The agreement figures that there are, each with what the judge was held against."""
    second = found.get("second_judge", {})
    titles = {
        "labels": f"the labels ({found.get('labels', {}).get('column')})",
        "test_retest": "itself, the documents in another order",
        "second_judge": f"a second judge ({second.get('model')})",
        "offline_judge": "the offline judge",
    }
    return [(title, found[name]) for name, title in titles.items() if found.get(name)]


@dataclasses.dataclass(frozen=True)
class _Row:
    title: str
    value: float
    direction: str
    what: str
    confounds: str


_DIRECTIONS = {1: "higher", -1: "lower", 0: "neither"}


def _baselines(values: Mapping[str, Any]) -> list[_Row]:
    """Known baselines in the catalogue's order, then whatever else score.json has."""
    rows = [
        _Row(m.title, values[name], _DIRECTIONS[m.direction], m.what, m.confounds)
        for name, m in METRICS.items()
        if isinstance(values.get(name), (int, float))
    ]
    others = [n for n, v in values.items() if n not in METRICS and isinstance(v, (int, float))]
    return rows + [_Row(name.replace("_", " "), values[name], "", "", "") for name in others]
