"""A study's plan: scopes bind cells, models and who answers; what is wrong is refused."""

import pytest

from synthdiv import config
from synthdiv.errors import UserError

pytest.importorskip("jax")


def plan(*bindings, real=None):
    from synthdiv.study.config import TARGETS, read_plan

    base = ["Study.cells = ['a', 'b']", "Study.models = ['m']"]
    return read_plan(config.load(TARGETS, [], [*base, *bindings]), real)


def test_scopes_bind_cells_models_and_who_answers():
    made = plan(
        "Generate.topics = 5",
        "b/Generate.topics = 9",
        "a/Cell.corpus = 'x.jsonl'",
        "m/Model.hidden = 60",
        "judge/LLM.backend = 'openai'",
        "judge/LLM.model = 'some-judge'",
        "Study.seed = 3",
    )
    assert [c.generate.topics for c in made.cells] == [5, 9]
    assert [c.config.corpus for c in made.cells] == ["x.jsonl", ""]
    assert made.models[0].pretrain.model.hidden == 60
    assert (made.writer.backend, made.judge.backend) == ("offline", "openai")
    assert {made.score.seed, made.cells[0].generate.seed, made.models[0].sft.seed} == {3}


def test_every_seed_is_a_training_run_with_a_folder_of_its_own(tmp_path):
    from synthdiv.study.run import run_directory, stage_count

    one, several = plan("Study.seed = 3"), plan("Study.seeds = [4, 5, 6]")
    assert one.seeds == (3,) and list(several.seeds) == [4, 5, 6]
    # Two corpora are generated and scored, and four stages a run; two are shared.
    assert stage_count(one) == 4 + 2 * 4 + 2 and stage_count(several) == 4 + 3 * 2 * 4 + 2
    assert run_directory(one, tmp_path, "a", "m", 3) == tmp_path / "a" / "m"
    assert run_directory(several, tmp_path, "a", "m", 5) == tmp_path / "a" / "m" / "seed_5"


def test_one_held_out_text_may_stand_by_itself():
    assert plan("Study.heldout = 'x.jsonl'").config.heldout == ("x.jsonl",)
    assert list(plan("Study.heldout = ['x', 'y']").config.heldout) == ["x", "y"]


def test_changed_files_make_another_study(tmp_path):
    from synthdiv.study.config import inputs_of

    for name in ("real", "cell", "questions/task", "talks"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a text"}\n')
    made = plan(
        f"a/Cell.corpus = '{tmp_path}/cell.jsonl'",
        f"Study.instructions = '{tmp_path}/talks.jsonl'",
        f"Study.data_dir = '{tmp_path}/questions'",
        real=(f"{tmp_path}/real.jsonl",),
    )
    first = inputs_of(made)
    assert len(first) == 5, "topics, too"
    for path in sorted(tmp_path.rglob("*.jsonl")):
        before = inputs_of(made)
        path.write_text('{"text": "a TEXT"}\n')
        after = inputs_of(made)
        (changed,) = [name for name in after if after[name] != before[name]]
        assert path.is_relative_to(changed)
    (tmp_path / "talks.jsonl").unlink()
    with pytest.raises(UserError, match="talks.jsonl"):
        inputs_of(made)


def test_other_real_text_is_another_study():
    other = plan(real=("wiki.jsonl",))
    assert other.config.real == ("wiki.jsonl",) and other.settings != plan().settings


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("Study.cells = []", "Study.cells is empty"),
        ("Study.models = ['m', 'm']", "names one twice: m, m"),
        ("Study.cells = ['../x']", "letters, digits"),
        ("Study.seeds = [1, 1]", "different whole numbers that are not negative, not [1, 1]"),
        (
            "Study.topics = 'configs/topics/sedes.jsonl'",
            "did you mean 'configs/topics/seeds.jsonl'",
        ),
        ("Study.topcs = 'x'", "did you mean 'Study.topics'"),
    ],
)
def test_a_wrong_study_is_one_clear_line(binding, message):
    with pytest.raises(UserError) as refusal:
        plan(binding)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["quickstart", "smoke"])
def test_installed_studies_can_be_read(name):
    from synthdiv.study.config import TARGETS, read_plan
    from synthdiv.study.run import stage_count

    made = read_plan(config.load(TARGETS, [f"configs/study/{name}.gin"]))
    assert stage_count(made) == len(made.cells) * (2 + 4 * len(made.models)) + 2
