"""What training would take: tokens, steps, epochs, FLOPs, chip-hours and disk of a whole study."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from synthdiv import plans
from synthdiv.data.stdlib import PAGE
from synthdiv.errors import UserError
from synthdiv.study.config import STDLIB, Cell, Mixture, Model, Plan, trained

TOKEN_BYTES = 4  # of text, in a token
_STATE_BYTES = 12  # a parameter: the weight and two moments, in 32 bits
_CORPUS_BYTES = 2.0  # a token of text, compressed, with where it came from
_ANSWER_BYTES = 6.0  # a token of a reply, as it is kept

_Kind = tuple[Model, Mixture, Mapping[str, float]]  # a kind of training run, and what one takes


@dataclasses.dataclass(frozen=True)
class Table(plans.Plan):
    """A plan that is printed as a table."""

    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()

    def __str__(self) -> str:
        return plans.text_table(self.head, self.rows)


def budget(
    study: Plan,
    written: Mapping[str, float],
    device: str,
    mfu: float,
    jobs: int,
    beside: Mapping[str, float | str],
) -> dict[str, plans.Plan]:
    """Returns plans of the corpora, of training and of the whole.

    Args:
        study: what to study.
        written: tokens that each corpus is likely to have, of those that are generated.
        device, mfu, jobs: as `preview`.
        beside: FLOPs of what is done beside pre-training, or why nobody can tell; see
            `after_training`.

    Raises:
        UserError: a device that is not known, or a share that is none.
    """
    from synthdiv.training.hardware import TABLE, check_mfu, device_named

    check_mfu(mfu)
    accelerator = device_named(device)
    peak, price = accelerator.bf16_flops, accelerator.usd_per_hour
    tokens = {cell.name: _tokens(cell, written) for cell in study.cells}
    kinds = itertools.product(study.models, study.mixtures)
    lines = [(model, mixture, _line(study, model, mixture)) for model, mixture in kinds]
    runs = len(study.cells) * len(study.seeds)
    an_hour = 3600 * mfu * peak
    hours, by_6nd = (
        sum(line[kind] for *_, line in lines) * runs / an_hour for kind in ("flops", "flops_6nd")
    )
    more = {name: flops / an_hour for name, flops in beside.items() if not isinstance(flops, str)}
    unknown = [name for name in beside if name not in more]
    in_all = hours + sum(more.values())
    disk = _disk(study, tokens, lines, runs)
    summary = {
        "accelerators": f"{device} at {100 * mfu:g}% of {peak:.3g} FLOP/s",
        "pre-training": f"{rounded(hours)} chip-hours with attention, {rounded(by_6nd)} by 6ND",
        **{name: f"about {rounded(some)} chip-hours" for name, some in more.items()},
        **{name: f"not counted: {beside[name]}" for name in unknown},
        "hours": f"{rounded(in_all / jobs)} on {jobs:,} at a time"
        + (f", without {' and '.join(unknown)}" if unknown else ""),
        "accelerators cost": f"{rounded(in_all * price)} USD at {price:,.2f} an hour ({TABLE})"
        if price is not None
        else f"unknown: no price of {accelerator.name} in {TABLE}",
        "disk": " + ".join(f"{rounded(size / 1e9)} GB of {name}" for name, size in disk.items())
        + f" = {rounded(sum(disk.values()) / 1e9)} GB",
    }
    if real := _shares(study, study.mixtures[0])["real_sources"]:
        each = ", ".join(f"{name} {amount:,.0f}" for name, amount in real.items())
        summary["real text"] = f"{each} tokens a pass"
    figures = {"chip_hours": hours, "chip_hours_6nd": by_6nd, "chip_hours_beside": more}
    figures |= {"usd": price and in_all * price, "disk_bytes": sum(disk.values())}
    whole = plans.Plan(summary, figures)
    return {
        "corpora": _corpora(study, tokens),
        "training": _training(study, lines, runs, an_hour),
        "whole": whole,
    }


def rounded(number: float) -> str:
    """A number for people: with one digit after the point, or of two digits where it is small."""
    return f"{number:,.1f}" if number >= 0.1 else f"{number:.2g}"


def _tokens(cell: Cell, written: Mapping[str, float]) -> float | None:
    """About how many tokens a corpus has; None where nobody can tell."""
    if cell.config.tokens:
        return cell.config.tokens
    if cell.config.packages:
        return cell.config.packages * cell.config.pages * PAGE / TOKEN_BYTES
    if cell.name in written:
        return written[cell.name]
    try:
        corpus = cell.config.open(cell.config.corpus)
    except UserError:
        return None
    return sum(len(document.text.encode("utf-8", "replace")) for document in corpus) / TOKEN_BYTES


def _line(study: Plan, model: Model, mixture: Mixture) -> dict[str, float]:
    """What one training run takes."""
    length, sizes = study.tokenize.sequence_length, model.pretrain.model
    one_pass = mixture.synthetic_tokens + mixture.real_tokens
    tokens = model.pretrain.tokens or one_pass
    steps = math.ceil(tokens / (model.pretrain.batch_size * length))
    return {
        "parameters": sizes.parameters,
        "tokens": tokens,
        "steps": steps,
        "passes": tokens / one_pass,
        "synthetic": mixture.synthetic_tokens,
        "real": mixture.real_tokens,
        "flops": tokens * sizes.flops_per_token(length),
        "flops_6nd": 6 * sizes.parameters * tokens,
    }


def _corpora(study: Plan, tokens: Mapping[str, float | None]) -> Table:
    """Tokens of each corpus, and how often every mixture reads them."""
    named = [f" of {mixture.name}" if mixture.name else "" for mixture in study.mixtures]
    head = ["corpus", "topics", "texts", "tokens", *(f"epochs a pass{name}" for name in named)]
    rows, figures = [], {}
    for cell in study.cells:
        count = tokens[cell.name]
        config, generated = cell.generate, cell.config.generated
        subjects = config.topics or config.documents
        texts = f"{subjects * config.generations:,}" if generated and subjects else ""
        epochs = [None if not count else mix.synthetic_tokens / count for mix in study.mixtures]
        rows.append(
            [
                cell.name,
                f"{config.topics:,}" if generated and config.topics else "",
                texts,
                "unknown" if count is None else f"{count:,.0f}",
                *("" if one is None else f"{one:.2f}" for one in epochs),
            ]
        )
        figures[cell.name] = {"tokens": count, "epochs": epochs}
    return Table({}, figures, head=head, rows=rows)


def _training(study: Plan, lines: Sequence[_Kind], runs: int, an_hour: float) -> Table:
    """One training run of each kind, and how many there are of it."""
    head = [
        *("model", "parameters", "tokens", "steps", "synthetic a pass", "real a pass", "passes"),
        *("FLOPs", "by 6ND", "chip-hours", "by 6ND", "runs"),
    ]
    rows, figures = [], {}
    for model, mixture, line in lines:
        hours = [line[kind] / an_hour for kind in ("flops", "flops_6nd")]
        name = trained(model, mixture)
        rows.append(
            [
                name,
                f"{line['parameters']:,}",
                f"{line['tokens']:,.0f}",
                f"{line['steps']:,}",
                f"{line['synthetic']:,.0f}",
                f"{line['real']:,.0f}",
                f"{line['passes']:.2f}",
                f"{line['flops']:.3g}",
                f"{line['flops_6nd']:.3g}",
                *map(rounded, hours),
                f"{runs:,}",
            ]
        )
        real = _shares(study, mixture)
        figures[name] = {**line, "chip_hours": hours[0], "chip_hours_6nd": hours[1], **real}
    return Table({}, figures, head=head, rows=rows)


def _shares(study: Plan, mixture: Mixture) -> dict[str, dict[str, float]]:
    """Effective tokens of each real corpus, where they do not hang on sizes nobody knows yet."""
    config = study.config
    shares: Sequence[float] = config.real_shares or ([1.0] if len(config.real) == 1 else [])
    named = zip(config.real, shares, strict=False)
    return {"real_sources": {n: mixture.real_tokens * s / sum(shares) for n, s in named}}


def _disk(
    study: Plan, tokens: Mapping[str, float | None], lines: Sequence[_Kind], runs: int
) -> dict[str, float]:
    """Bytes on disk in the end, by what they are."""
    known = sum(count for count in tokens.values() if count)
    made = sum(tokens[c.name] or 0 for c in study.cells if c.config.generated)
    width = 2 if study.models[0].pretrain.model.vocab_size <= 1 << 16 else 4
    checkpoints = 0.0
    for model, _, line in lines:
        every = model.pretrain.checkpoint_every or line["steps"]
        kept = min(model.pretrain.keep, math.ceil(line["steps"] / every))
        tuned = 1 if "sft" in study.config.phases else 0
        checkpoints += runs * _STATE_BYTES * line["parameters"] * (kept + tuned)
    real = (
        0.0 if study.config.real in ((), (STDLIB,)) else max(m.real_tokens for m in study.mixtures)
    )
    return {
        "corpora and answers": made * (_CORPUS_BYTES + _ANSWER_BYTES),
        "tokens": width * (known + real),
        "checkpoints": checkpoints,
    }
