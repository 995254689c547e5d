"""Who wrote and who judged the corpora of a study, from their manifests and scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.corpora.manifest import generated, writers_of

Cells = Sequence[Mapping[str, Any]]


def origin_of(corpus: str | Path, score: Mapping[str, Any]) -> dict[str, Any]:
    """Returns who wrote a corpus and who judged it, as `study.json` has it.

    Args:
        corpus: its directory or file.
        score: the content of its score.json.

    Returns:
        `written_by` in words, None where nothing tells; `writer_backends`, () where no language
        model of ours wrote it; `judged_by` and `judge_backend`.
    """
    manifest = files.read_manifest(corpus) or {}
    writers = writers_of(generated(manifest))
    generator = manifest.get("generator")
    told = ", ".join(dict.fromkeys(one.model for one in writers))
    judge = score.get("judge") or {}
    return {
        "written_by": told or (str(generator) if generator else None),
        "writer_backends": list(dict.fromkeys(one.backend for one in writers)),
        "judged_by": judge.get("model"),
        "judge_backend": judge.get("backend"),
    }


def notices(cells: Cells) -> list[str]:
    """What a reader must know of writers and judges before reading on."""
    origins = {cell["corpus"]["name"]: cell["origin"] for cell in cells}
    invented = [name for name, one in origins.items() if "offline" in one["writer_backends"]]
    judged = [name for name, one in origins.items() if one["judge_backend"] == "offline"]
    unknown = [name for name, one in origins.items() if one["written_by"] is None]
    said = []
    if invented:
        said.append(
            f"{_which(invented, origins)} written by the offline stand-in, which is not an LLM: "
            "what it says of an invented world shows that the study works, and nothing about any "
            "language model."
        )
    if judged:
        said.append(
            f"The diversity of {_which(judged, origins, verb=False)} was judged by the offline "
            "stand-in, a statistical text clusterer, not a language model: its scores compare "
            "these corpora with one another, and are not comparable with an LLM's."
        )
    if unknown:
        said.append(f"Who wrote {_which(unknown, origins, verb=False)} is not recorded with them.")
    return said


def _which(names: Sequence[str], of: Mapping[str, Any], verb: bool = True) -> str:
    if len(names) == len(of):
        return "The corpora were" if verb else "the corpora"
    return ", ".join(names) + (" were" if verb and len(names) > 1 else " was" if verb else "")
