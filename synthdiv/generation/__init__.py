"""Generation: topic seeds, personas and prompts made into corpora (section 3.2, 2410.15226)."""

from synthdiv.generation.extraction import (
    TopicsConfig,
    make_topics,
    merge_duplicates,
    plan_topics,
)
from synthdiv.generation.generator import estimated_tokens, generate, plan_generation
from synthdiv.generation.plan import FAMILIES, CorpusPlan, GenerateConfig
from synthdiv.generation.seeds import Style, Topic, choose_topics, read_personas, read_topics

__all__ = [
    "FAMILIES",
    "CorpusPlan",
    "GenerateConfig",
    "Style",
    "Topic",
    "TopicsConfig",
    "choose_topics",
    "estimated_tokens",
    "generate",
    "make_topics",
    "merge_duplicates",
    "plan_generation",
    "plan_topics",
    "read_personas",
    "read_topics",
]
