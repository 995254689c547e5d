"""How long to fuzz: some examples, always the same, or FUZZ_EXAMPLES of them, each time others."""

import os

import hypothesis

ASKED = os.environ.get("FUZZ_EXAMPLES")


def fuzz(examples: int, shrink: bool = True) -> hypothesis.settings:
    """Returns the settings of a test that takes `examples` by default.

    Args:
        examples: how many, where FUZZ_EXAMPLES does not say.
        shrink: look for the smallest example that fails.
    """
    phases = [phase for phase in hypothesis.Phase if shrink or phase.name == "generate"]
    return hypothesis.settings(
        max_examples=int(ASKED or examples),
        deadline=None,
        derandomize=ASKED is None,
        database=None,
        phases=phases,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
