"""A stage is done once; one that was cut short is done again; two studies never share a place."""

import pytest

from synthdiv.claims import claim, differences
from synthdiv.errors import UserError
from synthdiv.study.stages import Stages, fingerprint, record_of


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


def take(workdir, settings):
    with claim(record_of(workdir), fingerprint(settings), "study"):
        (workdir / "study.gin").write_text(settings)


def test_a_directory_belongs_to_one_study(tmp_path):
    take(tmp_path / "s", "Study.seed = 1\n")
    take(tmp_path / "s", "Study.seed = 1\n")
    with pytest.raises(UserError, match=r"Study\.seed was '1' and is now '2'"):
        take(tmp_path / "s", "Study.seed = 2\n")
    with pytest.raises(UserError, match=r"few/Generate\.topics was None and is now '8'"):
        take(tmp_path / "s", "Study.seed = 1\nfew/Generate.topics = 8\n")
    with pytest.raises(UserError, match=r"Study\.seed was '1' and is now None"):
        take(tmp_path / "s", "")
    assert (tmp_path / "s" / "study.gin").read_text() == "Study.seed = 1\n"


def test_inputs_count_where_they_are_known():
    record, settings = {"settings": {"Study.seed": "1"}}, "Study.seed = 1\n"
    assert not differences(record, fingerprint(settings, {"a.jsonl": "12"})), "of an older version"
    record = fingerprint(settings, {"a.jsonl": "12"})
    assert differences(record, fingerprint(settings, {"a.jsonl": "34"}))


def test_a_study_begun_before_there_were_fingerprints_is_known_by_its_settings(tmp_path):
    (tmp_path / "study.gin").write_text("Study.seed = 1\n")
    with pytest.raises(UserError, match=r"Study\.seed was '1' and is now '2'"):
        take(tmp_path, "Study.seed = 2\n")
    take(tmp_path, "Study.seed = 1\n")


def test_two_studies_at_once_are_refused_one_directory(tmp_path):
    held = claim(record_of(tmp_path), fingerprint("Study.seed = 1\n"), "study")
    with held, pytest.raises(UserError, match="at work in"):
        take(tmp_path, "Study.seed = 1\n")


def test_values_of_several_lines_and_the_later_of_two_bindings_count():
    several = "Study.real = \\\n    ('a',\n     'b')\nStudy.seed = 1\n"
    assert fingerprint(several) == {"settings": {"Study.real": "('a', 'b')", "Study.seed": "1"}}
    assert fingerprint(several + "Study.real = ('c',)\n")["settings"]["Study.real"] == "('c',)"


def test_a_study_that_a_cap_stopped_goes_on_under_a_higher_one(tmp_path):
    take(tmp_path / "s", "Study.seed = 1\n")
    head = "# Parameters for judge/LLM:\n# " + "=" * 78 + "\n"
    more = f"{head}judge/LLM.max_calls = 40\nLLM.concurrency = 3\n\nStudy.seed = 1\n"
    take(tmp_path / "s", more)
    take(tmp_path / "s", more.replace("40", "80"))
    for other in ("judge/LLM.model = 'x'", "LLM.max_calls_ = 3", "Study.real = ('x',)"):
        with pytest.raises(UserError, match="holds another study"):
            take(tmp_path / "s", f"{more}{other}\n")
