"""Why an OpenAI-compatible server says 404: what it offers, and where."""

from typing import Any

from synthdiv.errors import closest

_TIMEOUT_S = 5.0
_NAMED = 10  # models that are named


async def diagnose(client: Any, url: str, model: str) -> str | None:
    """Returns what to change, as the server's list of models tells; None where it tells nothing.

    Args:
        client: an openai.AsyncOpenAI.
        url: where calls are sent.
        model: which model they name.
    """
    import openai

    beside = f"{url.rstrip('/')}/v1"
    for place in (url, beside):
        try:
            asked = client.with_options(base_url=place, timeout=_TIMEOUT_S)
            listed = await asked.get("/models", cast_to=object)
            names = [str(known["id"]) for known in listed["data"]]
        except (openai.OpenAIError, KeyError, TypeError, ValueError):
            continue
        if place == beside:
            return f"the server answers below /v1: `base_url={beside}`"
        if model in names:
            return None
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        offered = ", ".join(sorted(names)[:_NAMED]) or "no model"
        return f"the server offers {offered}{more}{closest(model, names)}"
    return None
