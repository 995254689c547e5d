"""What a session can be told: one frozen dataclass."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LLMConfig:
    """Who answers, how fast, and for how much.

    Args:
        backend: "offline" (a stand-in that is no LLM), "openai" (any compatible server), "gemini",
            or "batch" (writes a batch file and pauses).
        model: its name at the server; the offline stand-in has its own.
        base_url: the server, "http://host:port/v1"; None is OpenAI's.
        concurrency: calls in flight at most; fewer when the server asks for less.
        max_cost_usd: the store's whole cost, over all runs, never exceeds this.
        max_calls: nor its number of calls, retries included, this.
        requests_per_minute: a limit of the account.
        tokens_per_minute: a limit of the account, prompts and replies together.
        timeout: seconds for one call.
        retries: attempts after the first for what may pass.
        patience: seconds without any success until the run is paused.
        reasks: times that a reply with a fault is asked for again, with the fault quoted.
        more_room: a reply that was cut off is asked for with up to so many times its max_tokens.
        json_mode: how a server is told the schema: "schema" (response_format json_schema),
            "object" (any JSON object, the schema in words), "off" (in words only), or "auto": the
            first of these that it takes.
        extra: further body parameters of an OpenAI-compatible server ({"top_k": 40}).
        prices: a price table added to configs/prices.json.
        batch_lines: requests in one batch file at most.
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
    prices: str | None = None
    batch_lines: int = 50_000

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError("concurrency takes a number of calls from 1 on")
        if self.json_mode not in ("auto", "schema", "object", "off"):
            raise ValueError(f"json_mode is auto, schema, object or off, not {self.json_mode!r}")
