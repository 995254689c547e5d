"""Plans at full scale have the paper's counts; power and cost are told before a study is run."""

import math

import pytest

from synthdiv import config
from synthdiv.config import configs_dir
from synthdiv.errors import UserError

pytest.importorskip("jax")

STUDIES = sorted(path.stem for path in (configs_dir() / "study").glob("*.gin"))


def plan(name, *bindings):
    from synthdiv.study.config import TARGETS, read_plan

    return read_plan(config.load(TARGETS, [f"configs/study/{name}.gin"], list(bindings)))


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in ("paper", "small")])
def test_every_study_of_ours_can_be_read_and_its_stages_named(name, tmp_path):
    from synthdiv.study.budget import budget
    from synthdiv.study.graph import make_graph

    made = plan(name)
    grid = math.prod(map(len, (made.cells, made.mixtures, made.models, made.seeds)))
    assert len({run.folder for run in made.runs()}) == grid
    inputs = dict.fromkeys([str(made.config.topics), *map(str, made.config.real)], "0")
    for cell in made.cells:
        inputs |= {str(cell.config.corpus): "0", str(cell.config.sources): "0"}
    stages = make_graph(made, tmp_path, inputs).stages
    assert len({stage.file for stage in stages}) == len(stages)
    if not name.startswith(("small", "paper")):
        return
    assert budget(made, {}, "h100", 0.4, 1, {})["whole"].figures["chip_hours"] > 0


# Tokens a corpus in billions, effective tokens a pass, and models (paper, sections 3.3 to 3.6).
COUNTS = {
    "paper_topics": ([0.58, 1.01, 1.48, 1.74, 3.04, 4.43], [4.5e9], 2),
    "paper_prompts": ([22.09, 28.60, 10.44, 12.64, 12.90, 12.27], [20e9], 2),
    "paper_generators": ([4.04, 4.39, 4.62, 5.00, None], [5e9], 1),
    "paper_ratio": ([12.90], [0, 1e9, 5e9, 10e9, 20e9, 34e9, 50e9], 1),
}


@pytest.mark.parametrize("name", COUNTS)
def test_plans_at_full_scale_agree_with_the_paper(name):
    from synthdiv.study.budget import budget

    tokens, effective, models = COUNTS[name]
    parts = budget(plan(name), {"mixed": 4.5e9}, "a100", 0.4, 1, {})
    corpora = [one["tokens"] for one in parts["corpora"].figures.values()]
    for found, wanted in zip(corpora, tokens, strict=True):
        assert wanted is None or found == pytest.approx(1e9 * wanted, rel=0.01)
    training = parts["training"].figures
    assert len(training) == models * len(effective)
    for found, wanted in zip(training.values(), effective * models, strict=True):
        large = found["parameters"] > 1e9
        # 50 and 150 billion tokens in batches of 256 and 128 sequences: 95K and 572K steps.
        steps, size = (572e3, 1.28e9) if large else (95e3, 358e6)
        read = 150e9 if large else 50e9
        assert found["steps"] == pytest.approx(steps, rel=0.01)
        assert found["synthetic"] == pytest.approx(wanted, rel=0.01)
        real = found["real_sources"]
        assert real["corpora/web"] == pytest.approx(22.67e9, rel=0.01)
        assert real["corpora/code"] == real["corpora/math"] == pytest.approx(5.67e9, rel=0.01)
        hours = 6 * size * read / (0.4 * 312e12) / 3600
        assert found["chip_hours_6nd"] == pytest.approx(hours, rel=0.1)
        assert found["chip_hours"] > found["chip_hours_6nd"], "attention is beyond 6ND"


def test_a_device_that_is_not_known_is_told_with_those_that_are():
    from synthdiv.study.budget import budget

    with pytest.raises(UserError, match="no device 'h10'.*H100"):
        budget(plan("smoke"), {}, "h10", 0.4, 1, {})
    with pytest.raises(UserError, match="mfu=1.5"):
        budget(plan("smoke"), {}, "h100", 1.5, 1, {})


def test_tasks_whose_questions_cannot_be_had_are_refused():
    from synthdiv.study.run import check_tasks

    check_tasks(plan("smoke"))
    with pytest.raises(UserError, match="no data of task 'piqa'"):
        check_tasks(plan("smoke", "Study.tasks = ['piqa']", "Study.data_dir = 'configs'"))
    with pytest.raises(UserError, match="beside 'piqa': bind Study.data_dir"):
        check_tasks(plan("smoke", "Study.tasks = ['world_facts', 'piqa']"))


def test_power_is_told_from_the_noise_of_an_earlier_study(tmp_path):
    from synthdiv import files
    from synthdiv.study.config import TARGETS, read_plan
    from synthdiv.study.power import plan_power
    from synthdiv.study.sample_size import Noise, detectable, power

    # 0.05 of the documents, which all models share, is in no residual and no noise.
    sd = {"training": 0.004, "questions": 0.05, "corpora": 0.0}
    residual = math.hypot(0.006, 0.004 / math.sqrt(2))
    fit = {"reliability": 0.9, "sd": sd, "observed": {"residual_sd": residual}, "seeds": 2}
    scores = [{"mean": mean, "standard_error": 0.1} for mean in (4.0, 5.0, 6.0)]
    found = {"cells": [{"score": one} for one in scores]}
    found["outcomes"] = {"m": {"pretrain": {"bits_per_byte": fit}}}
    files.write_json(tmp_path / "study.json", found)
    bound = ["Study.seeds = [0, 1, 2]", "Power.training = 0.002"]
    loaded = config.load(TARGETS, ["configs/study/quickstart.gin"], bound)
    study = read_plan(loaded)
    figures = plan_power(study, loaded, tmp_path).figures
    noise = Noise(training=0.002, corpora=0.006, scores=0.1)
    assert figures["noise"] == pytest.approx(vars(noise))
    assert figures["spread"] == pytest.approx(math.sqrt(0.9))
    least = detectable(math.sqrt(0.9), noise, len(study.cells), 3)
    assert figures["detectable"] == pytest.approx(least)
    assert power(least, math.sqrt(0.9), noise, len(study.cells), 3) == pytest.approx(0.8, abs=5e-3)
    with pytest.raises(UserError, match=r"no outcome m pretrain brier; it has m pretrain bits"):
        asked = config.load(TARGETS, ["configs/study/quickstart.gin"], ["Power.outcome='brier'"])
        plan_power(study, asked, tmp_path)
    with pytest.raises(UserError, match=r"bind Power\.spread.*--earlier"):
        plan_power(study, loaded, None)
