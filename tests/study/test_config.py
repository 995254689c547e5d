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
    assert [w.backend for c in made.cells for w in c.writers] == ["offline", "offline"]
    assert made.judge.backend == "openai"
    assert {made.score.seed, made.cells[0].generate.seed, made.models[0].sft.seed} == {3}


def test_every_point_of_the_grid_is_a_training_run_with_a_folder_of_its_own():
    one, several = plan("Study.seed = 3"), plan("Study.seeds = [4, 5]")
    assert [run.folder for run in one.runs()] == ["a/m", "b/m"]
    assert [run.model.pretrain.seed for run in one.runs()] == [3, 3]
    assert [run.folder for run in several.runs()][:2] == ["a/m/seed_4", "b/m/seed_4"]
    assert {run.model.sft.seed for run in several.runs()} == {4, 5}
    mixed = plan(
        "Study.mixtures = ['little', 'none']",
        "Study.real_tokens = 100",
        "little/Mix.synthetic_tokens = 7",
        "none/Mix.synthetic_tokens = 0",
    )
    assert [run.folder for run in mixed.runs()] == [
        "a/m/little",
        "b/m/little",
        "a/m/none",
        "b/m/none",
    ]
    assert {(r.key, r.mixture.synthetic_tokens, r.mixture.real_tokens) for r in mixed.runs()} == {
        ("m/little", 7, 100),
        ("m/none", 0, 100),
    }


def test_a_cell_may_have_writers_of_its_own():
    made = plan(
        "writer/LLM.backend = 'openai'",
        "writer/LLM.model = 'x'",
        "writer/LLM.base_url = 'http://h/v1'",
        "writer/b/LLM.model = 'y'",
        "a/Generate.writers = {'openai:p': 1, 'gemini:q': 2}",
    )
    first, second = made.cells
    assert [(w.backend, w.model) for w in first.writers] == [("openai", "p"), ("gemini", "q")]
    assert [(w.backend, w.model) for w in second.writers] == [("openai", "y")]


def test_a_cap_of_the_command_line_is_the_study_s():
    from synthdiv.study.config import TARGETS, read_plan

    bound = ["Study.cells = ['a']", "Study.models = ['m']", "LLM.max_calls = 3"]
    made = read_plan(config.load(TARGETS, [], bound), max_calls=9, max_cost_usd=2.0)
    assert {made.judge.max_calls, made.cells[0].writers[0].max_calls} == {9}
    assert made.judge.max_cost_usd == 2.0


def test_one_held_out_text_may_stand_by_itself():
    assert plan("Study.heldout = 'x.jsonl'").config.heldout == ("x.jsonl",)
    assert list(plan("Study.heldout = ['x', 'y']").config.heldout) == ["x", "y"]


def test_changed_files_make_another_study(tmp_path):
    from synthdiv.study.inputs import inputs_of

    for name in ("real", "cell", "questions/task", "talks"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a text"}\n' * 2)
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
        path.write_text('{"text": "a TEXT"}\n' * 2)
        after = inputs_of(made)
        (changed,) = [name for name in after if after[name] != before[name]]
        assert path.is_relative_to(changed)
    (tmp_path / "talks.jsonl").unlink()
    with pytest.raises(UserError, match="talks.jsonl"):
        inputs_of(made)


def test_a_cell_without_the_text_column_is_named_with_its_binding(tmp_path):
    from synthdiv.study.inputs import inputs_of

    (tmp_path / "mine.jsonl").write_text('{"content": "a text"}\n' * 2)
    given = plan(f"b/Cell.corpus = '{tmp_path}/mine.jsonl'")
    with pytest.raises(UserError, match=r"cell 'b': .*'content'.*with b/Cell\.text_column"):
        inputs_of(given)
    with pytest.raises(UserError, match=r"cell 'a' \(a/Cell\.corpus\): .*nowhere"):
        inputs_of(plan("a/Cell.corpus = 'nowhere.jsonl'"))
    inputs_of(plan(f"b/Cell.corpus = '{tmp_path}/mine.jsonl'", "Cell.text_column = 'content'"))
    with pytest.raises(UserError, match="did you mean 'configs/topics/seeds.jsonl'"):
        inputs_of(plan("Study.topics = 'configs/topics/sedes.jsonl'"))


def test_other_real_text_is_another_study():
    other = plan(real=("wiki.jsonl",))
    assert other.config.real == ("wiki.jsonl",) and other.settings != plan().settings


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("Study.cells = []", "Study.cells is empty"),
        ("Study.models = ['m', 'm']", "names one twice: m, m"),
        ("Study.cells = ['../x']", "letters, digits"),
        ("Study.seeds = [4294967296, 0]", "from 0 to 4294967295"),
        ("Study.seeds = 5", "Study.seeds is a list, not 5"),
        ("Study.cells = 'abdef'", "Study.cells is a list, not 'abdef'"),
        ("Study.seeds = [1, 1]", "different whole numbers from 0 to 4294967295, not [1, 1]"),
        ("Study.topcs = 'x'", "did you mean 'Study.topics'"),
        ("Study.models = ['corpus']", "'corpus' is a folder's name"),
        ("Study.phases = ['sft']", "['pretrain', 'sft'] or ['pretrain']"),
        ("Study.real_shares = [1, 2]", "2 numbers for 1 corpora"),
        ("Study.tokenizer_from = ['aa']", "did you mean 'a'"),
        ("Study.real_tokens = -1", "a mixture of no"),
        ("a/Cell.packages = 3", "both above 0, or neither is set: not 3 and 0"),
    ],
)
def test_a_wrong_study_is_one_clear_line(binding, message):
    with pytest.raises(UserError) as refusal:
        plan(binding)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_cells_of_packages_are_cut_and_asked_of_nobody(tmp_path):
    from synthdiv.study.graph import make_graph
    from synthdiv.study.inputs import inputs_of
    from synthdiv.study.work import Work

    made = plan(
        *("Cell.packages = 8", "Cell.pages = 3", "Study.real = []", "Study.tasks = []"),
        *("Study.phases = ['pretrain']", "Study.heldout = []"),
    )
    assert inputs_of(made) == {}, "no topics are read"
    stages = {stage.name: stage for stage in make_graph(made, tmp_path, {}).stages}
    assert {"a: cut", "b: cut"} <= set(stages) and not any("generate" in name for name in stages)
    assert "a: cut" in stages["a: score"].needs and "b: cut" in stages["b: tokens"].needs
    work, packages = Work(made, tmp_path), []
    for cell in made.cells:
        work.cut(cell)
        packages.append({d.provenance["package"] for d in work.corpus(cell)})
    assert len(packages[0]) == len(packages[1]) == 8 and packages[0] != packages[1]


def test_corpora_without_text_and_texts_of_one_name_are_refused_before_anything_is_done(tmp_path):
    from synthdiv.study.inputs import inputs_of

    empty, one, twin = tmp_path / "empty.jsonl", tmp_path / "x" / "t.jsonl", tmp_path / "t.jsonl"
    empty.write_text('{"text": ""}\n' * 40 + '{"text": "word"}\n')
    with pytest.raises(UserError, match=r"cell 'a' .*1 documents with text; it takes 2"):
        inputs_of(plan(f"a/Cell.corpus = '{empty}'"))
    one.parent.mkdir()
    for path in (one, twin):
        path.write_text('{"text": "word"}\n')
    with pytest.raises(UserError, match="two texts called 't'"):
        inputs_of(plan(f"Study.heldout = ['{one}', '{twin}']"))


def test_documents_without_text_are_told_in_a_notice(tmp_path):
    from synthdiv import files
    from synthdiv.study.results import _empty_texts

    made = plan()
    for cell, empty in zip(made.cells, (50, 0), strict=True):
        tokens = files.output_dir(tmp_path / cell.name / "tokens")
        files.write_manifest(tokens, {"documents": 10, "empty_documents": empty})
    (said,) = _empty_texts(made, tmp_path)
    assert said.startswith("a: 50 of 60 documents have no text")
