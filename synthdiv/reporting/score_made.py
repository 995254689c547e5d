"""How a score was made, as a reader wants to know it: who judged, what was asked, of how much."""

from collections.abc import Mapping
from typing import Any

from synthdiv.reporting.charts import number


def made(score: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, in words) of everything that score.json knows; what it lacks is left out."""
    config, judge = score.get("config") or {}, score.get("judge") or {}
    told = [
        ("Judge", f"{judge['model']} ({judge['backend']})" if judge.get("model") else ""),
        ("Asked for", _asked(score)),
        ("Codebook" if score.get("codebooks") else "Criteria", _basis(score)),
        ("Rounds", _rounds(score)),
        ("Documents", _documents(score)),
        ("Prompts", _prompts(score)),
        ("Interval", (score.get("score") or {}).get("interval") or ""),
        ("Cost", _cost(score)),
        ("Command", (score.get("made") or {}).get("command") or ""),
        ("Date", (score.get("made") or {}).get("at") or ""),
        ("Seed", str(config.get("seed", score.get("seed", "")))),
        ("synthdiv", score.get("synthdiv_version") or ""),
    ]
    return [(what, words) for what, words in told if words]


def _asked(score: Mapping[str, Any]) -> str:
    if score.get("levels"):
        return "a value for each document in every facet, from closed lists"
    config = score.get("config") or {}
    if not config:
        return ""
    verified = "which the judge then verified" if config.get("verify") else "not verified"
    by_rule = f" by their value at {config.get('level')}" if score.get("codebooks") else ""
    return f"clusters of the documents of a round{by_rule}, {verified}"


def _basis(score: Mapping[str, Any]) -> str:
    books = score.get("codebooks") or ()
    if books and books[0].get("name"):
        return f"{books[0]['name']} {books[0].get('version') or ''}".strip() + " (published)"
    config = score.get("config") or {}
    if config.get("criteria"):
        return f"given: {config['criteria']}"
    if books:
        covered = [b["coverage"] for b in books if isinstance(b.get("coverage"), (int, float))]
        words = f"{len(books)} gathered from the corpus"
        if covered:
            words += (
                f"; {100 * sum(covered) / len(covered):.0f}% of documents that did not make them"
                " have a value in them"
            )
        return words
    sets = len(score.get("criteria_sets") or ())
    return f"{sets} sets, gathered from the corpus" if sets else ""


def _rounds(score: Mapping[str, Any]) -> str:
    rounds = score.get("rounds") or {}
    if "completed" not in rounds:
        return ""
    words = f"{number(rounds['completed'])} of {number(rounds['requested'])}"
    if rounds.get("documents_per_round"):
        words += f", of {rounds['documents_per_round']} documents each"
    return words + (
        f"; {number(rounds['invalid'])} without a usable answer" if rounds.get("invalid") else ""
    )


def _documents(score: Mapping[str, Any]) -> str:
    corpus = score.get("corpus") or {}
    if "documents" not in corpus:
        return ""
    words = number(corpus["documents"])
    if corpus.get("shown"):
        words += f", {number(corpus['shown'])} of them read by the judge"
    if corpus.get("truncated"):
        words += f", {number(corpus['truncated'])} of these cut to their beginning"
    if corpus.get("empty"):
        words += f", {number(corpus['empty'])} empty"
    return words


def _prompts(score: Mapping[str, Any]) -> str:
    folder, digest = (score.get("config") or {}).get("prompts"), score.get("prompts_sha256")
    return " ".join(filter(None, [folder, f"(sha256 {digest[:12]})" if digest else ""]))


def _cost(score: Mapping[str, Any]) -> str:
    calls, tokens = score.get("calls") or {}, score.get("tokens") or {}
    if "sent" not in calls:
        return ""
    words = [f"{number(calls['sent'])} calls sent"]
    for name, what in (
        ("cached", "answered from answers kept earlier"),
        ("retried", "sent again"),
        ("repaired", "repaired"),
        ("failed", "failed"),
    ):
        if calls.get(name):
            words.append(f"{number(calls[name])} {what}")
    if tokens:
        words.append(f"{number(tokens['input'])} tokens in, {number(tokens['output'])} out")
    if isinstance(score.get("cost_usd"), (int, float)) and score["cost_usd"]:
        words.append(f"{score['cost_usd']:.2f} US dollars")
    return ", ".join(words)
