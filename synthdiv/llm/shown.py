"""What a session shows while it asks."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from synthdiv.llm.exchange import Exchange
from synthdiv.llm.money import FREE, PICO, Price
from synthdiv.progress import Progress


@dataclass
class Shown:
    """Progress of one `map`: what came of it so far, tokens a second, money, answers of the store.

    Attributes:
        exchange: who counts calls and tokens.
        price: of the model; None where nobody knows it.
        label, total, unit, so_far: as `Session.map` takes them.
    """

    exchange: Exchange
    price: Price | None
    label: str
    total: int | None
    unit: str
    so_far: Callable[[], Mapping[str, object]] | None = None
    done: int = 0
    start: float = field(default_factory=time.monotonic)

    def __enter__(self) -> "Shown":
        counts = self.exchange.counts
        self.tokens = counts.usage.input + counts.usage.output
        self.spent, self.cached = counts.spent, counts.cached
        self.progress = Progress(self.total, self.label, self.unit) if self.label else None
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress is not None:
            self.progress.__exit__(*exception)

    def update(self, items: int) -> None:
        """Shows that so many more items are done."""
        if self.progress is None:
            return
        self.done += items
        counts = self.exchange.counts
        tokens = counts.usage.input + counts.usage.output - self.tokens
        figures: dict[str, object] = dict(self.so_far()) if self.so_far else {}
        figures["tokens/s"] = f"{tokens / max(time.monotonic() - self.start, 1e-3):,.0f}"
        if self.price not in (None, FREE):
            figures["cost"] = f"${counts.spent / PICO:.2f}"  # of the whole run so far
            if self.total and self.done:
                more = (counts.spent - self.spent) * (self.total / self.done - 1)
                figures["projected"] = f"${(counts.spent + more) / PICO:.2f}"
        if counts.cached > self.cached:
            figures["from_store"] = f"{counts.cached - self.cached:,}"
        if counts.failed:
            figures["failed"] = counts.failed
        self.progress.update(items, **figures)
