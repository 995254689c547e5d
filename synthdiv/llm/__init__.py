"""Asking language models: one protocol, several backends, one session.

    from synthdiv.llm import LLMConfig, Request, open_session

    async def topics(text: str) -> list[str]:
        reply = await session.ask(Request(({"role": "user", "content": text},), Topics))
        return reply.value.topics if reply.value else []

    with open_session(LLMConfig(backend="openai", model="..."), Path("answers.sqlite")) as session:
        for index, found in session.map(topics, texts):
            ...

Every answer is on disk before it is used and is never paid for twice; a cap on cost or calls is
never exceeded; a killed run goes on where it was. Importing this loads no HTTP library.
"""

from synthdiv.llm.config import LLMConfig
from synthdiv.llm.fences import Fenced, fence, fence_under, fenced, mark_together, unfence
from synthdiv.llm.pauses import Awaiting, Steps, in_steps
from synthdiv.llm.plan import Plan, Stage
from synthdiv.llm.protocol import Reply, Request, Sampling, Usage
from synthdiv.llm.session import Session, one_pause, open_session
from synthdiv.llm.tasks import together

__all__ = [
    "Awaiting",
    "Fenced",
    "LLMConfig",
    "Plan",
    "Reply",
    "Request",
    "Sampling",
    "Session",
    "Stage",
    "Steps",
    "Usage",
    "fence",
    "fence_under",
    "fenced",
    "in_steps",
    "mark_together",
    "one_pause",
    "open_session",
    "together",
    "unfence",
]
