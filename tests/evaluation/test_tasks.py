"""Stock definitions with local questions; the paper's group; what is refused before any work."""

import functools
import json

import pytest

from synthdiv.errors import UserError
from synthdiv.evaluation import tasks
from synthdiv.evaluation.tasks import PAPER, PAPER_METRICS, load_tasks
from tests.evaluation import small


def _requests(task) -> list[tuple[str, str]]:
    task.build_all_requests(limit=1)
    return [request.args for request in task.instances]


def test_the_papers_group_holds_its_eight_tasks_and_ignores_the_hub(suite):
    loaded = load_tasks([PAPER], suite)
    assert set(loaded.names) == set(PAPER_METRICS) == set(loaded.files)
    assert loaded.loaded["group_map"] == {PAPER: list(PAPER_METRICS)}
    assert loaded.loaded["tasks"]["hellaswag"].config.dataset_path == "Rowan/hellaswag"


def test_requests_are_those_of_the_stock_definitions(suite):
    tasks = load_tasks([PAPER], suite).loaded["tasks"]
    assert _requests(tasks["arc_easy"])[1] == (
        "Question: Which animal of the 2 was seen last at a cold lake?\nAnswer:",
        " otter",
    )
    assert _requests(tasks["hellaswag"])[0] == (
        "Watching animals: A woman walks to a cold lake with 2 friends. The friends",
        " look at the heron and sit down.",
    )
    assert _requests(tasks["boolq"]) == [
        (
            "The heron lives by a cold lake.\nQuestion: does the heron live by a cold lake?\n"
            "Answer:",
            f" {answer}",
        )
        for answer in ("no", "yes")
    ]
    assert _requests(tasks["winogrande"])[1] == (
        "Ann thanked Eve for the 2 herons because Eve",
        " had found them.",
    )
    assert _requests(tasks["copa"])[0] == (
        "The heron ran to a cold lake because",
        "  it heard a dog.",
    )
    assert _requests(tasks["social_iqa"])[0][0].endswith("do next?\nA:")
    assert _requests(tasks["piqa"])[1][1] == " Put dry ice under it and close the door."


def test_gold_answers_are_the_files(suite):
    for name, task in load_tasks([PAPER], suite).loaded["tasks"].items():
        golds = [task.doc_to_target(doc) for doc in task.eval_docs]
        if name == "copa":
            assert golds[:2] == [" it heard a dog.", " it read a book."]
        elif name == "winogrande":
            assert [task.doc_to_text(doc) for doc in task.eval_docs][:3] == [0, 1, 0]
        else:
            options = len(task.doc_to_choice(task.eval_docs[0]))
            # The suite counts its answers up; BoolQ's yes (1) comes first.
            expected = [(i + (name == "boolq")) % options for i in range(12)]
            assert golds == expected, name


def test_world_facts_needs_its_file(tmp_path):
    with pytest.raises(UserError, match="needs `data_dir`, with world_facts.jsonl"):
        load_tasks(["world_facts"], None)
    with pytest.raises(UserError, match="no data of task 'world_facts'"):
        load_tasks(["world_facts"], tmp_path)


def test_a_missing_file_of_the_group_is_named(tmp_path):
    small.write_suite(tmp_path)
    (tmp_path / "piqa_validation.jsonl").unlink()
    with pytest.raises(UserError, match="no data of task 'piqa' .*piqa_validation.jsonl"):
        load_tasks([PAPER], tmp_path)


def test_shots_come_from_a_train_file_only(tmp_path):
    small.write_suite(tmp_path)
    with pytest.raises(UserError, match="'copa' with num_fewshot=2 takes its examples from a tr"):
        load_tasks(["copa"], tmp_path, num_fewshot=2)
    rows = [small.SUITE["copa_validation"](i) | {"premise": "It rained."} for i in range(5)]
    (tmp_path / "copa_train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = load_tasks(["copa"], tmp_path, num_fewshot=2).loaded["tasks"]["copa"]
    assert _requests(task)[0][0].count("It rained") == 2


def test_a_directory_of_definitions_and_how_many_examples_they_ask_for(tmp_path, monkeypatch):
    """A definition's own number stays unless another is asked for, and 0 asks for none."""
    import lm_eval.tasks

    alone = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)  # in no time
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", alone)
    rows = [{"question": f"{i} and {i}?", "answer": str(2 * i)} for i in range(6)]
    (tmp_path / "sums.json").write_text(json.dumps(rows))
    definition = {
        "task": "sums_of_two",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "sums.json")}},
        "test_split": "test",
        "fewshot_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": ["2", "4"],
        "doc_to_target": 0,
        "num_fewshot": 3,
    }
    (tmp_path / "sums.yaml").write_text(json.dumps(definition))
    for asked, shots in ((None, 3), (0, 0), (1, 1)):
        loaded = load_tasks(["sums_of_two"], None, asked, tmp_path)
        assert loaded.loaded["tasks"]["sums_of_two"].get_config("num_fewshot") == shots
    with pytest.raises(UserError, match="`include_path=nowhere` is no directory"):
        load_tasks(["sums_of_two"], None, include_path="nowhere")


def test_an_unknown_task_is_refused_with_the_nearest_one(suite):
    with pytest.raises(UserError, match="no task 'hellaswga' in lm-eval; did you mean 'hellaswag'"):
        load_tasks(["hellaswga"], suite)
    with pytest.raises(UserError, match="no tasks"):
        load_tasks([], suite)


@pytest.mark.slow  # it reads lm-eval's index of all tasks
def test_names_are_those_of_the_index(tmp_path):
    """No name of the index is refused unread, and a part of one is refused all the same."""
    text, index = tasks._definitions(tasks._stock_folder()), tasks._stock_index()
    assert [name for name in index.all_tasks if name not in text] == []
    with pytest.raises(UserError, match="no task 'hellasw' in lm-eval; did you mean 'hellaswag'"):
        load_tasks(["hellasw"], None)


def test_without_data_dir_and_network_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(UserError, match="cannot load tasks piqa: .* give `data_dir` or"):
        load_tasks(["piqa"], None)
