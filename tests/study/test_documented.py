"""docs/study.md names every parameter that only a study has."""

import dataclasses
import re

import pytest

from synthdiv.config import configs_dir

pytest.importorskip("jax")


def test_every_scope_of_a_study_is_documented():
    from synthdiv.study.config import TARGETS, CellConfig, MixConfig, StudyConfig
    from synthdiv.study.sample_size import PowerConfig

    page = (configs_dir().parent / "docs" / "study.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", page.partition("| scope |")[2], re.MULTILINE)
    table = {scope: set(re.findall(r"`(\w+)", words)) for scope, words in rows}
    for scope, target in {
        "`Study`": StudyConfig,
        "`CELL/Cell`": CellConfig,
        "`MIXTURE/Mix`": MixConfig,
        "`Power`": PowerConfig,
    }.items():
        assert {field.name for field in dataclasses.fields(target)} <= table[scope]
    named = " ".join(table)
    for target in TARGETS:
        if target.__name__ != "MixtureConfig":  # a study makes it
            assert target.__name__.removesuffix("Config") in named
