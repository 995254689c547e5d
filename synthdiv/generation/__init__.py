"""Generation: topic seeds, personas and prompts made into corpora (section 3.2, 2410.15226)."""

from synthdiv.generation.generator import estimated_tokens, generate
from synthdiv.generation.plan import FAMILIES, CorpusPlan, GenerateConfig
from synthdiv.generation.seeds import Style, Topic, choose_topics, read_personas, read_topics

__all__ = [
    "FAMILIES",
    "CorpusPlan",
    "GenerateConfig",
    "Style",
    "Topic",
    "choose_topics",
    "estimated_tokens",
    "generate",
    "read_personas",
    "read_topics",
]
