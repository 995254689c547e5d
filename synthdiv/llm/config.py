"""What a session can be told: one frozen dataclass."""

import math
import re
import urllib.parse
from dataclasses import dataclass, replace
from typing import Any

from synthdiv.config import PathName, settle
from synthdiv.errors import UserError
from synthdiv.llm.money import most_output_tokens
from synthdiv.llm.speed import parse_speed


@dataclass(frozen=True)
class LLMConfig:
    """Who answers, how fast, and for how much.

    Args:
        backend: "offline" (a stand-in that is no LLM), "openai" (any compatible server), "gemini",
            or "batch" (writes a batch file and pauses).
        model: its name at the server; the offline stand-in has its own.
        base_url: the server, "http://host:port/v1", or several of one model with commas between;
            None is OpenAI's.
        concurrency: calls in flight at most; fewer when the server asks for less.
        max_cost_usd: the store's whole cost, over all runs, never exceeds this.
        max_calls: nor its number of calls, retries included, this.
        requests_per_minute: a limit of the account.
        tokens_per_minute: a limit of the account, prompts and replies together.
        timeout: seconds for one call.
        retries: attempts after the first for what may pass.
        patience: seconds without any success until the run is paused.
        reasks: times that a reply with a fault is asked for again, with the fault quoted.
        more_room: factor by which max_tokens may grow for a reply that was cut off.
        json_mode: how a server is told the schema: "schema" (response_format json_schema),
            "object" (any JSON object, the schema in words), "off" (in words only), or "auto": the
            first of these that it takes.
        extra: further body parameters of an OpenAI-compatible server ({"top_k": 40}).
        prices: a price table added to configs/prices.json.
        batch_lines: requests in one batch file at most.
        speed: what the server does, for the hours of a plan alone: "50 requests/s",
            "9000 tokens/s" (written) or "12 s/call".
    """

    backend: str = "offline"
    model: str | None = None
    base_url: str | None = None
    concurrency: int = 64
    max_cost_usd: float | None = None
    max_calls: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 120.0
    retries: int = 8
    patience: float = 300.0
    reasks: int = 1
    more_room: int = 4
    json_mode: str = "auto"
    extra: dict[str, Any] | None = None
    prices: PathName | None = None
    batch_lines: int = 50_000
    speed: str = ""

    def __post_init__(self) -> None:
        settle(self)
        at_least = {
            **{"concurrency": 1, "retries": 0, "reasks": 0, "more_room": 1, "batch_lines": 1},
            **{"max_cost_usd": 0, "max_calls": 0},
        }
        for name, low in at_least.items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise UserError(f"LLM.{name} is {value}; it must be a number from {low} on")
        for name in ("requests_per_minute", "tokens_per_minute", "timeout", "patience"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"LLM.{name} is {value}; it must be a number above 0")
        if self.json_mode not in ("auto", "schema", "object", "off"):
            raise UserError(f"LLM.json_mode is auto, schema, object or off, not {self.json_mode!r}")
        most_output_tokens(1, self.extra)  # refuses what is no number
        parse_speed(self.speed)
        if self.base_url is not None:
            urls = urls_of(self.base_url)
            for url in urls:
                check_url(url)
            if len(urls) > 1 and self.backend != "openai":
                raise UserError(f"several servers in base_url are for openai, not {self.backend!r}")

    def asking(self, whom: str) -> "LLMConfig":
        """Returns the same terms for another model, BACKEND:MODEL[@URL]."""
        said = {name: value for name, value in parse_whom(whom).items() if value is not None}
        return replace(self, **said)  # type: ignore[arg-type]


def parse_whom(whom: str) -> dict[str, str | None]:
    """Returns backend, model and base_url of BACKEND[:MODEL[@URL]]; None is what it leaves out."""
    backend, _, model = whom.partition(":")
    model, _, address = model.partition("@http")
    url = f"http{address}" if address else None
    return {"backend": backend, "model": model or None, "base_url": url}


def urls_of(base_url: str) -> list[str]:
    """Returns the addresses of the servers, which have commas between them."""
    return re.split(r",\s*(?=https?://)", base_url)


def check_url(url: str) -> None:
    """Refuses what is no address of a server.

    Raises:
        UserError: says what is wrong with it; not the address itself, which may hold a password.
    """
    if any(c.isspace() or not c.isprintable() for c in url):
        raise UserError("base_url has a space, a line's end or a control character in it")
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # noqa: B018  reading it checks it
    except ValueError:  # its words may hold what stands after a colon: a part of a password
        raise UserError(
            "base_url is no address, as http://host:port/v1 is: a port goes up to 65535, brackets"
            " are an IPv6 address's, and in a password @ : / are written %40 %3A %2F"
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError("base_url is not a http:// or https:// address, as http://host:port/v1")
