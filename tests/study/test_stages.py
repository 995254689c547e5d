"""A stage is done once; one that was cut short is done again; two studies never share a place."""

import pytest

from synthdiv.errors import UserError
from synthdiv.study.stages import Stages, claim


def test_a_finished_stage_is_not_done_again(tmp_path):
    done = []
    Stages(tmp_path, 2).run("a", lambda: done.append("a"))
    again = Stages(tmp_path, 2)
    again.run("a", lambda: done.append("a"))
    again.run("b", lambda: done.append("b"))
    assert done == ["a", "b"]


def test_a_stage_cut_short_is_done_again(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path, 1).run("a", fail)
    done = []
    Stages(tmp_path, 1).run("a", lambda: done.append("a"))
    assert done == ["a"]


def test_a_directory_belongs_to_one_study(tmp_path):
    claim(tmp_path / "s", "Study.seed = 1\n")
    assert claim(tmp_path / "s", "Study.seed = 1\n").is_dir()
    with pytest.raises(UserError, match=r"Study\.seed"):
        claim(tmp_path / "s", "Study.seed = 2\n")


def test_a_study_that_a_cap_stopped_goes_on_under_a_higher_one(tmp_path):
    claim(tmp_path / "s", "Study.seed = 1\n")
    head = "# Parameters for judge/LLM:\n# " + "=" * 78 + "\n"
    more = f"{head}judge/LLM.max_calls = 40\nLLM.concurrency = 3\n\nStudy.seed = 1\n"
    assert claim(tmp_path / "s", more).is_dir()
    assert (tmp_path / "s" / "study.gin").read_text() == more
    claim(tmp_path / "s", more.replace("40", "80"))
    for other in ("judge/LLM.model = 'x'", "LLM.max_calls_ = 3", "# --input=x"):
        with pytest.raises(UserError, match="holds a study of other settings"):
            claim(tmp_path / "s", f"{more}{other}\n")
