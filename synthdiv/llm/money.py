"""What calls cost: the price table, exact sums, and the most that a call can cost.

Sums are whole pico-dollars (1e-12 USD), so that a cap is kept to the last cent over millions of
calls. The table is configs/prices.json, in USD per million tokens; `LLM.prices` names another file,
whose models are added to it.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthdiv.errors import UserError
from synthdiv.llm.protocol import Message, Usage

PICO = 10**12
_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|\d{3}|latest|preview(?:-[\d-]+)?)$")

_LIMITS = ("max_tokens", "max_completion_tokens")
_REPLIES = ("n", "best_of")  # all are paid, one is used

# Chat templates put a few tokens around each message and some before the first.
_TOKENS_A_MESSAGE = 16
_TOKENS_A_CALL = 256


@dataclass(frozen=True)
class Price:
    """Pico-dollars a token: of the prompt, of the prompt's part the server had cached, written."""

    input: int
    cached: int
    output: int

    def cost(self, usage: Usage) -> int:
        """Returns what `usage` costs, in pico-dollars."""
        cached = min(usage.cached, usage.input)
        return (
            (usage.input - cached) * self.input + cached * self.cached + usage.output * self.output
        )

    def most(self, prompt: int, written: int) -> int:
        """Returns the most that these tokens can cost, however many the server had cached."""
        return prompt * max(self.input, self.cached) + written * self.output


FREE = Price(0, 0, 0)


def price_of(model: str, files: list[Path], factor: str | None = None) -> Price | None:
    """Looks a model up; a dated name (`gpt-4o-2024-08-06`) falls back to the undated one.

    Args:
        model: the name that is sent to the server.
        files: price tables, later ones win.
        factor: a key of the table's "factors" ("batch": half price) to multiply by.

    Returns:
        the price, or None if no table has the model.

    Raises:
        UserError: a table that cannot be read, or a price that is no number from 0 on.
    """
    models: dict[str, tuple[float, float, float]] = {}
    factors: dict[str, float] = {}
    for file in files:
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
            priced, shares = table["models"].items(), table.get("factors", {}).items()
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{file} is not a price table: {error}") from error
        models |= {name: _usd(file, name, price) for name, price in priced}
        factors |= {name: _number(share, f"{file}: factor {name!r}") for name, share in shares}
    name = model.split("/")[-1] if model not in models else model
    found = models.get(name) or models.get(_DATED.sub("", name))
    if found is None:
        return None
    share = factors.get(factor, 1.0) if factor else 1.0
    return Price(*(math.ceil(usd * share * PICO / 1e6) for usd in found))


def _usd(file: Path, model: str, price: object) -> tuple[float, float, float]:
    """What a table says of a model: a million tokens of the prompt, of its cached part, written."""
    where = f"{file}: the price of {model!r}"
    if not (isinstance(price, dict) and {"input", "output"} <= price.keys()):
        raise UserError(f"{where} needs numbers for input and output")
    prompt = _number(price["input"], f"{where}, input,")
    cached = _number(price.get("cached", prompt), f"{where}, cached,")
    return prompt, cached, _number(price["output"], f"{where}, output,")


def _number(value: object, where: str) -> float:
    """Returns a finite number from 0 on; a cap would not hold with any other."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and 0 <= value < math.inf):  # type: ignore[operator]
        raise UserError(f"{where} is {value!r}; it must be a number from 0 on")
    return float(value)  # type: ignore[arg-type]


def most_input_tokens(messages: tuple[Message, ...], schema_bytes: int) -> int:
    """Returns a bound on a prompt's tokens that no byte-level tokenizer exceeds.

    A token stands for at least one byte; servers put a schema into the prompt at most once.
    """
    content = sum(len(m["content"].encode("utf-8", "replace")) for m in messages)
    return content + schema_bytes + _TOKENS_A_MESSAGE * len(messages) + _TOKENS_A_CALL


def most_output_tokens(max_tokens: int, extra: Mapping[str, Any] | None) -> int:
    """Returns the most tokens that a call can have written: `LLM.extra` may ask for more.

    Args:
        max_tokens: what the call itself allows.
        extra: further body parameters, which win.

    Raises:
        UserError: one of them is no number.
    """
    said = {name: (extra or {}).get(name) for name in (*_LIMITS, *_REPLIES)}
    for name, value in said.items():
        if value is not None and (type(value) is not int or value < 1):
            raise UserError(f"LLM.extra: {name} is {value!r}; it must be a whole number from 1 on")
    most = max(max_tokens, *(said[name] or 0 for name in _LIMITS))
    return most * max(1, *(said[name] or 0 for name in _REPLIES))


def higher(usd: float) -> float:
    """Returns an amount for people, no lower than `usd`: three digits that count."""
    if usd <= 0:
        return 0.01
    unit = 10.0 ** (math.floor(math.log10(usd)) - 2)
    return float(f"{math.ceil(usd / unit - 1e-9) * unit:.12g}")


def likely_tokens(text_bytes: int) -> int:
    """Returns about how many tokens a text has: four bytes each, as English does."""
    return -(-text_bytes // 4)
