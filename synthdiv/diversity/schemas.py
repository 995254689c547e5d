"""The replies that the judge gives in each of the cluster agent's five steps, as pydantic classes.

What has a brief form is asked for in it where `Score.explain` is off: the same without reasons.

Only shapes stand here, so that strict structured output can enforce them; what a shape cannot say
(every document placed once, one verdict a cluster) is checked in `agent` and asked for again.
Documents and clusters are numbered from 1, as the prompts show them.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field


class Attribute(BaseModel):
    """A property by which documents can be told apart ("metadata" in the paper)."""

    name: str = Field(description="A specific name of one to four words.")
    definition: str = Field(description="What the attribute says about a document.")
    values: list[str] = Field(description="Typical values, the broadest first.")


class Metric(BaseModel):
    """A property that a document has to a degree, scored from 1 to 5."""

    name: str = Field(description="A specific name of one to four words.")
    definition: str = Field(description="What is scored.")
    rubric: list[str] = Field(description="Five lines: what earns a 1, a 2, a 3, a 4, a 5.")


class CriteriaProposal(BaseModel):
    """Step 1: what a few documents suggest to sort documents by."""

    metadata: list[Attribute]
    metrics: list[Metric]


class GatheredMetadata(BaseModel):
    """Step 2, first half: the attributes that many proposals share."""

    metadata: list[Attribute]


class GatheredMetrics(BaseModel):
    """Step 2, second half: the metrics that many proposals share."""

    metrics: list[Metric]


class Criterion(BaseModel):
    """One line of the criteria that head the clustering prompt."""

    name: str
    kind: Literal["metadata", "metric"]
    sentence: str = Field(description="One sentence that says how to judge a document by it.")


class CriteriaSummary(BaseModel):
    """Step 3: one sentence a criterion."""

    criteria: list[Criterion]


class AttributeValue(BaseModel):
    """What a cluster's documents are in one attribute."""

    name: str
    value: str


class BriefMetricScore(BaseModel):
    """How a cluster's documents score in one metric."""

    name: str
    score: int = Field(description="1 to 5")


class MetricScore(BriefMetricScore):
    """The same with the reason."""

    reason: str


class Group(BaseModel):
    """Documents that belong together."""

    name: str = Field(description="What its documents have in common, in a few words.")
    documents: list[int] = Field(description="Numbers of its documents.")


class BriefCluster(Group):
    """A cluster with its value or score in each criterion."""

    metadata: list[AttributeValue]
    metrics: Sequence[BriefMetricScore]


class Cluster(Group):
    """The same with reasons, which come first."""

    reason: str = Field(description="Why it is a cluster of its own.")
    metadata: list[AttributeValue]
    metrics: Sequence[MetricScore]


class BriefClustering(BaseModel):
    """Step 4: a partition of a round's documents."""

    clusters: Sequence[BriefCluster]


class Clustering(BaseModel):
    """The same with reasons."""

    clusters: Sequence[Cluster]


class BriefVerdict(BaseModel):
    """Whether one cluster holds up."""

    cluster: int
    valid: bool


class Verdict(BriefVerdict):
    """The same with the reason."""

    reason: str


class BriefVerification(BaseModel):
    """Step 5: one verdict a cluster."""

    verdicts: Sequence[BriefVerdict]


class Verification(BriefVerification):
    """The same with reasons."""

    verdicts: Sequence[Verdict]
