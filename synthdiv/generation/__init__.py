"""Generation: topic seeds, personas and prompts made into corpora (section 3.2, 2410.15226)."""

from synthdiv.generation.config import GenerateConfig, LoopConfig
from synthdiv.generation.extraction import TopicsConfig, make_topics, merged_path, plan_topics, told
from synthdiv.generation.families import Family, family_names
from synthdiv.generation.gaps import Gaps, find_gaps
from synthdiv.generation.generator import check_apart, generate, plan_generation
from synthdiv.generation.listings import read_listing, read_listings
from synthdiv.generation.loop import grow
from synthdiv.generation.merging import Found, Merger, Merging, merge, merge_duplicates
from synthdiv.generation.outlook import plan_growth
from synthdiv.generation.personas import read_personas
from synthdiv.generation.plan import CorpusPlan
from synthdiv.generation.seeds import Style
from synthdiv.generation.shape import ShapeConfig
from synthdiv.generation.topics import Topic, Topics, choose_topics, read_topics

__all__ = [
    "CorpusPlan",
    "Family",
    "Found",
    "Gaps",
    "GenerateConfig",
    "LoopConfig",
    "Merger",
    "Merging",
    "ShapeConfig",
    "Style",
    "Topic",
    "Topics",
    "TopicsConfig",
    "check_apart",
    "choose_topics",
    "family_names",
    "find_gaps",
    "generate",
    "grow",
    "make_topics",
    "merge",
    "merge_duplicates",
    "merged_path",
    "plan_generation",
    "plan_growth",
    "plan_topics",
    "read_listing",
    "read_listings",
    "read_personas",
    "read_topics",
    "told",
]
