"""What a comparison came to, in sentences: which corpus is more diverse, and what only one has."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from synthdiv.reporting.findings import headline_level, listed_words, plural, quoted_name, whole

SURE = 0.05  # p-value, corrected for the number of differences, below which one is no accident
OWN = 0.01  # share of a corpus from which a group that no other has is told


class Shared(Protocol):
    """A group as several corpora have it.

    Attributes:
        name, within: what it is called, and the broader values it belongs to.
        shares: of each corpus's places, in the order of the corpora.
    """

    @property
    def name(self) -> str: ...
    @property
    def within(self) -> Sequence[str]: ...
    @property
    def shares(self) -> Sequence[float]: ...


def verdict(content: Mapping[str, Any], groups: Sequence[Shared]) -> list[str]:
    """What a comparison found, most telling first.

    Args:
        content: of comparison.json.
        groups: of all corpora together, where they were judged alike.
    """
    corpora, differences = content["corpora"], list(content.get("differences") or ())
    said = [_ranking(corpora)]
    if len(differences) == 1:
        said = [_one(differences[0], content)]
    elif differences:
        first = sorted(corpora, key=lambda name: -corpora[name]["score"]["mean"])[:2]
        said = [_one(one, content) for one in differences if set(one["corpora"]) == set(first)]
        said += [_ranking(corpora), _several(differences)]
    elif not content.get("shared_criteria"):
        said.append(
            "Each corpus was judged under criteria of its own, so this order is no measurement: "
            "score them with --compare for differences with intervals."
        )
    said += _read(corpora)
    for place, name in enumerate(content["corpora"]):
        own = only_in(groups, place)
        if own:
            named = listed_words(
                [f"{quoted_name(one)} ({whole(one.shares[place])})" for one in own]
            )
            less = any(
                0 < one.shares[place] < OWN and sum(one.shares) == one.shares[place]
                for one in groups
            )
            least = f" (and others of less than {whole(OWN)} of it each)" if less else ""
            said.append(f"Only {name} has {named}{least}.")
    return said


def only_in(groups: Sequence[Shared], place: int) -> list[Shared]:
    """The groups that one corpus has and no other, largest first."""
    own = [
        one
        for one in groups
        if one.shares[place] >= OWN and not any(s for n, s in enumerate(one.shares) if n != place)
    ]
    return sorted(own, key=lambda one: -one.shares[place])


def holm(p_values: Sequence[float | None]) -> list[float]:
    """p-values corrected for their number (Holm 1979); one that is not known counts as 1."""
    known = [1.0 if p is None else p for p in p_values]
    corrected, worst = [1.0] * len(known), 0.0
    for rank, place in enumerate(sorted(range(len(known)), key=known.__getitem__)):
        worst = max(worst, min(known[place] * (len(known) - rank), 1.0))
        corrected[place] = worst
    return corrected


def p_words(p: float | None) -> str:
    """A p-value in words."""
    if p is None or not math.isfinite(p):
        return "p not known"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _ranking(corpora: Mapping[str, Any]) -> str:
    ranked = sorted(corpora.items(), key=lambda one: -one[1]["score"]["mean"])
    named = [f"{name} ({one['score']['mean']:.2f})" for name, one in ranked]
    if len(named) == 1:
        return f"Only {named[0]} is scored."
    return f"Most diverse is {named[0]}, then {', then '.join(named[1:])}."


def _one(found: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    one, other = found["corpora"]
    low, high = found["ci95"]
    p = found["p_value"]
    if None in (low, high, p):
        return f"Too few rounds tell whether {one} or {other} is more diverse."
    sign = 1 if found["difference"] > 0 else -1
    ends = sorted((sign * low, sign * high))
    level = headline_level(content).partition(".")[2]
    in_what = f" in {level}" if level else ""
    interval = f"95% interval {ends[0]:.2f} to {ends[1]:.2f}, {p_words(p)}"
    if p >= SURE:
        return (
            f"No difference in diversity{in_what} between {one} and {other} was found: their "
            f"scores are {abs(found['difference']):.2f} apart ({interval})."
        )
    more, less = (one, other) if sign > 0 else (other, one)
    return (
        f"{more} is more diverse{in_what} than {less}: {_widths(more, less, content)}its score is "
        f"{abs(found['difference']):.2f} higher ({interval})."
    )


def _widths(more: str, less: str, content: Mapping[str, Any]) -> str:
    """As how many equally common values or clusters two corpora are varied."""
    pairs = [content["corpora"].get(name, {}).get("pairs") or {} for name in (more, less)]
    means = [(one.get("effective_clusters") or {}).get("mean") for one in pairs]
    if None in means:
        return ""
    what = plural(headline_level(content).partition(".")[2] or "cluster")
    return f"as varied as {means[0]:.1f} equally common {what} against {means[1]:.1f}; "


def _read(corpora: Mapping[str, Any]) -> list[str]:
    """How much of each corpus was read, and why its size is no advantage."""
    about = {name: one.get("corpus") or {} for name, one in corpora.items()}
    sizes = {(one.get("rounds") or {}).get("documents_per_round") for one in corpora.values()}
    if not all(one.get("shown") and one.get("documents") for one in about.values()):
        return []
    named = [
        f"{one['shown']:,} of the {one['documents']:,} documents of {name}"
        for name, one in about.items()
    ]
    words = f"The judge read {listed_words(named, len(named))}"
    if len(sizes) == 1 and None not in sizes:
        words += (
            f", in rounds of {sizes.pop()} drawn at random: a corpus does not score higher for "
            "having more documents"
        )
    return [words + "."]


def _several(differences: Sequence[Mapping[str, Any]]) -> str:
    corrected = holm([one["p_value"] for one in differences])
    unsure = [
        " and ".join(one["corpora"])
        for one, p in zip(differences, corrected, strict=True)
        if p >= SURE
    ]
    if not unsure:
        return (
            f"All {len(differences)} differences hold (p below {SURE:g} each, corrected for their "
            "number)."
        )
    sure = len(differences) - len(unsure)
    return (
        f"{sure} of {len(differences)} differences hold (p below {SURE:g}, corrected for their "
        f"number); not told apart are {listed_words(unsure)}."
    )
