"""A data set card beside a corpus: README.md with the front matter that the Hugging Face hub reads.

Everything in it is read from the manifest, the documents, or a score; what none of them says is
said to be not known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv.corpora import Corpus
from synthdiv.corpora.manifest import METHOD, estimated_tokens, generated, writers_of
from synthdiv.files import read_json, read_manifest, write_text

CARD = "README.md"
UNKNOWN = "not known"
_COLUMNS = ("template", "style", "form", "model")  # by which a corpus is broken down
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"),
          (10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))  # fmt: skip
# Identifiers of the hub, in lower case; any other note on terms is "other".
_LICENCES = (
    "apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc-by-sa-3.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "odc-by", "pddl",
)  # fmt: skip
_MOST_ROWS = 60  # of a table
_BASELINES = ("context_length", "ngram_diversity", "self_repetition", "compression_ratio")


def write_card(
    directory: str | Path,
    manifest: Mapping[str, Any],
    shards: Sequence[Path],
    score: str | Path | None = None,
    name: str | None = None,
    data_files: str | None = "shard-*.parquet",
) -> Path:
    """Writes the card of a corpus.

    Args:
        directory: where to write it.
        manifest: of the corpus; {} for one that has none.
        shards: its Parquet files; none where it is kept otherwise.
        score: directory of a score of it.
        name: what to call it; by default as the directory.
        data_files: those that the hub shows; None for none that it can.

    Returns:
        The file.
    """
    path = Path(directory) / CARD
    name = name or path.parent.resolve().name
    write_text(path, card(name, manifest, shards, score, data_files))
    return path


def write_export_card(corpus: Corpus, target: Path, score: str | Path | None = None) -> Path:
    """Writes the card of a corpus beside what it was exported as.

    Args:
        corpus: the one that was exported.
        target: the directory that it was exported to, or the file NAME.jsonl, whose card is
            NAME.README.md beside it.
        score: directory of a score of it.
    """
    manifest = read_manifest(corpus.path) or {}
    if "shards" not in manifest:
        manifest = {}  # of whoever else made the corpus
    files = (corpus.path / shard for shard in manifest.get("shards", ()))
    shards = [file for file in files if file.exists()]  # of a large one in a store, none is here
    if target.is_dir():
        shown = "*.parquet" if any(target.glob("*.parquet")) else None
        return write_card(target, manifest, shards, score, corpus.name, shown)
    path = target.with_name(f"{target.stem}.{CARD}")
    write_text(path, card(corpus.name, manifest, shards, score, target.name))
    return path


def card(
    name: str,
    manifest: Mapping[str, Any],
    shards: Sequence[Path] = (),
    score: str | Path | None = None,
    data_files: str | None = "shard-*.parquet",
) -> str:
    """Returns the text of a card; see `write_card`."""
    made = generated(manifest)
    sections = [
        f"# {_plain(name)}\n\n{_what(manifest, made)}",
        _section("Size", _size(manifest)),
        _section("Licence", _licence(manifest, made)[1]),
        _section("How it was written", _written(made)),
        _section("What it is made of", _composition(shards)),
        _section("What was taken out", _taken_out(manifest)),
        _section("Evaluation tasks", _contamination(manifest)),
        _section("Diversity", _diversity(score)),
        _section("Known faults and limits", _limits(manifest, made)),
    ]
    return (
        _front_matter(name, manifest, made, data_files) + "\n\n".join(filter(None, sections)) + "\n"
    )


def _front_matter(
    name: str, manifest: Mapping[str, Any], made: Mapping[str, Any], data_files: str | None
) -> str:
    documents = int(manifest.get("documents", 0))
    size = next((words for most, words in _SIZES if documents < most), "n>1B")
    tags = ["synthdiv", *(["synthetic"] if made else [])]
    fields: dict[str, Any] = {
        "pretty_name": name,
        "license": _licence(manifest, made)[0],
        "task_categories": ["text-generation"],
        "tags": tags,
    }
    if manifest.get("languages"):
        fields["language"] = manifest["languages"]
    if documents:
        fields["size_categories"] = [size]
    if data_files:
        fields["configs"] = [{"config_name": "default", "data_files": data_files}]
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return "---\n" + "\n".join(lines) + "\n---\n\n"  # JSON is YAML


def _what(manifest: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    kind = str(manifest.get("kind", "corpus"))
    before = manifest.get("input") or {}
    words = [f"A {kind} of {manifest['documents']:,} documents." if manifest else f"A {kind}."]
    if before:
        words.append(f"Taken from {_plain(before['name'])}, {before['documents']:,} documents.")
    if made:
        words.append("The texts are synthetic: a language model wrote them.")
        if all(one.backend == "offline" for one in writers_of(made)):
            words[-1] = (
                "The texts were written by synthdiv's offline stand-in, which is no language model:"
                " their facts are invented, and they are for trying things out only."
            )
    else:
        words.append("Who wrote the texts is not known to synthdiv.")
    version = manifest.get("synthdiv_version")
    return " ".join([*words, f"Made by synthdiv {version}." if version else ""]).strip()


def _size(manifest: Mapping[str, Any]) -> str:
    tokens = manifest.get("tokens") or {}
    rows = [(label, manifest.get(key)) for label, key in
            (("documents", "documents"), ("words", "words"), ("topics", "topics"),
             ("sources", "sources"), ("texts a topic or source", "generations"))]  # fmt: skip
    rows.insert(
        2, (f"tokens, estimated as {tokens.get('method', UNKNOWN)}", tokens.get("estimated"))
    )
    return _table(("", ""), [(label, f"{n:,}") for label, n in rows if n])


def _licence(manifest: Mapping[str, Any], made: Mapping[str, Any]) -> tuple[str, str]:
    """The hub's identifier, and the words."""
    note = str(manifest.get("licence") or made.get("licence") or "")
    if note.strip().lower() in _LICENCES:
        return note.strip().lower(), note
    return ("other", _plain(note)) if note else ("unknown", f"The terms are {UNKNOWN}.")


def _written(made: Mapping[str, Any]) -> str:
    if not made:
        return ""
    rows = [(one.model, one.backend, f"{one.share:.0%}") for one in writers_of(made)]
    config = made.get("config") or {}
    facts = [("prompt family", made.get("family")), ("seed", made.get("seed")),
             *((name, config.get(name)) for name in ("temperature", "top_p"))]  # fmt: skip
    facts += [(key.replace("_", " "), value) for key, value in _hashes(made)]
    requests = made.get("requests") or {}
    if requests:
        facts.append(("requests", f"{requests['sent']:,}, of which {requests['failed']:,} failed"))
    facts += _cost(made.get("usage") or {})
    told = [(label, str(value)) for label, value in facts if value not in (None, "")]
    return _table(("writer", "asked through", "share"), rows) + "\n\n" + _table(("", ""), told)


def _hashes(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the manifest tells of topics, sources, prompts and personas by hash."""
    return [(key, value) for key, value in made.items() if key.endswith("sha256") and value]


def _cost(usage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the writers took, and who judged a corpus that grew: in all runs, if that is told."""
    if not usage:
        return [("cost", UNKNOWN)]
    last = {"writers, in the last run": usage["tokens"] | {"cost_usd": usage.get("cost_usd")}}
    rows = []
    for who, took in (usage.get("paid") or last).items():
        told = f"{took['input']:,} tokens read, {took['output']:,} written"
        cost = f"{UNKNOWN}: the model has no known price"
        if took["cost_usd"] is not None:
            cost = f"{took['cost_usd']:.2f} USD at the prices of the run"
        rows += [(f"tokens paid for: {who}", told), (f"cost: {who}", cost)]
    return rows


def _composition(shards: Sequence[Path]) -> str:
    """Documents and tokens by prompt family, style, form and writer, as in the paper's tables."""
    if not shards:
        return ""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    documents: Counter[tuple[str, ...]] = Counter()
    words: Counter[tuple[str, ...]] = Counter()
    topics: dict[tuple[str, ...], set[str]] = {}
    names = [name for name in _COLUMNS if name in pq.read_schema(shards[0]).names]
    if not names:
        return ""
    for shard in shards:
        with pq.ParquetFile(shard) as file:
            wanted = [*names, "text", "topic"]
            has = [name for name in wanted if name in file.schema_arrow.names]
            for batch in file.iter_batches(columns=has):
                split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(batch["text"]))
                counts = pc.list_value_length(split).to_pylist()
                nothing = [""] * len(counts)
                told = {n: batch[n].to_pylist() if n in has else nothing for n in wanted}
                for count, topic, *key in zip(
                    counts, told["topic"], *(told[n] for n in names), strict=True
                ):
                    group = tuple(str(part or "") for part in key)
                    documents[group] += 1
                    words[group] += count or 0
                    topics.setdefault(group, set()).add(str(topic or ""))
    if not documents:
        return ""
    shown = [place for place in range(len(names)) if any(group[place] for group in documents)]
    head = [
        *(names[p] for p in shown),
        "topics",
        "documents",
        "texts a topic",
        f"tokens ({METHOD})",
    ]
    rows = []
    for group, number in sorted(documents.items(), key=lambda pair: (-pair[1], pair[0])):
        of_topics = len(topics[group] - {""})
        rows.append(
            [*(group[p] for p in shown), f"{of_topics:,}" if of_topics else UNKNOWN, f"{number:,}",
             f"{number / of_topics:.1f}" if of_topics else UNKNOWN,
             f"{estimated_tokens(words[group]):,}"]
        )  # fmt: skip
    return _table(head, rows)


def _taken_out(manifest: Mapping[str, Any]) -> str:
    dropped = manifest.get("dropped")
    if not dropped:
        return ""
    found = manifest.get("found") or {}
    rows = [
        (check, f"{count:,}", f"{dropped['by_reason'].get(check, 0):,}")
        for check, count in sorted(found.items(), key=lambda pair: -pair[1])
    ]
    words = f"{dropped['documents']:,} documents were dropped; `dropped.jsonl` has each, with why."
    return words + (
        "\n\n" + _table(("fault", "documents with it", "dropped for it"), rows) if rows else ""
    )


def _contamination(manifest: Mapping[str, Any]) -> str:
    told = manifest.get("contamination")
    if not told or not told["texts"]:
        return "The documents were not compared with evaluation tasks, as far as is known."
    rows = [(source, f"{n:,}") for source, n in told["documents_by_source"].items()]
    words = (
        f"Compared with {told['texts']:,} texts of evaluation tasks, of which "
        f"{told['too_short']:,} are too short to be found."
    )
    return words + ("\n\n" + _table(("task", "documents that held it"), rows) if rows else "")


def _diversity(score: str | Path | None) -> str:
    if score is None:
        return f"The diversity score of the corpus is {UNKNOWN}: it was not scored with this card."
    found = read_json(Path(score) / "score.json")
    mean, (low, high) = found["score"]["mean"], found["score"]["ci95"]
    judge = found["judge"]
    words = (
        f"Diversity score {mean:.2f}, 95% interval {low:.2f} to {high:.2f}, over "
        f"{found['rounds']['completed']:,} rounds; judged by {judge['model']}."
    )
    baselines = found.get("baselines") or {}
    rows = [(key, f"{baselines[key]:.4g}") for key in _BASELINES if key in baselines]
    return words + ("\n\n" + _table(("baseline", ""), rows) if rows else "")


def _limits(manifest: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    lines = []
    if made:
        lines.append("Statements of fact were not checked by people.")
    openings = made.get("openings") or {}
    if openings.get("texts"):
        lines.append(
            f"Of the openings (three words) of the first {openings['texts']:,} texts written"
            f" {openings['distinct']:.0%} are distinct; {openings['stock']:,} are stock ones."
        )
    marks = manifest.get("marks") or {}
    for name in ("quality", "factuality"):
        if (mark := marks.get(name)) and mark["documents"]:
            judge = (manifest.get("judge") or {}).get("model", UNKNOWN)
            lines.append(f"Mean {name} {mark['mean']:.2f} of 5, marked by {judge}.")
    lines.append("Personal data, bias and offensive content were not looked for.")
    return "\n".join(f"- {line}" for line in lines)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _table(head: Iterable[str], rows: Sequence[Iterable[str]]) -> str:
    if not rows:
        return ""
    lines = [_line(cells) for cells in rows[:_MOST_ROWS]]
    names = list(head)
    more = len(rows) - _MOST_ROWS
    told = [f"\nand {more:,} more rows"] if more > 0 else []
    return "\n".join([_line(names), "|" + "---|" * len(names), *lines, *told])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """A text on one line, without what Markdown or HTML would take for markup."""
    return " ".join(text.split()).replace("<", "&lt;").replace("`", "'")
