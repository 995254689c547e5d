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
