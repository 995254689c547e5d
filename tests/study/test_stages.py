"""A stage is done once, by one process; what changed is done again and what it made is kept."""

import dataclasses
import multiprocessing

import pytest

from synthdiv import files
from synthdiv.claims import AtWork
from synthdiv.errors import Paused, UserError
from synthdiv.study.stages import Stage, Stages, bindings_of


class Bench:
    """Three stages in a row beside a fourth; notes what is done."""

    def __init__(self, workdir, **settings):
        self.done = []
        first = self.stage("a: make", {"size": settings.get("size", 1)}, (), ["a/corpus"])
        second = self.stage("a: count", {"by": settings.get("by", 1)}, ["a: make"], ["a/n.json"])
        third = self.stage("a: tell", {}, ["a: count"], ["a/told"])
        self.stages = Stages(workdir, [first, second, third, self.stage("b: make", {}, (), ["b"])])
        self.workdir = workdir

    def stage(self, name, settings, needs, outputs):
        return Stage(name, lambda: self.work(name, settings, outputs), settings, needs, outputs)

    def work(self, name, settings, outputs):
        self.done.append(name)
        for output in outputs:
            place = self.workdir / output
            if "corpus" in output:
                place.mkdir(parents=True, exist_ok=True)
                place = place / "shard"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(str(settings))

    def run(self):
        for stage in self.stages.stages:
            if not self.stages.is_done(stage):
                self.stages.do(stage)
        return self.done


EVERY = ["a: make", "a: count", "a: tell", "b: make"]


def test_a_finished_stage_is_not_done_again(tmp_path):
    assert Bench(tmp_path).run() == EVERY
    assert Bench(tmp_path).run() == []


def test_what_depends_on_a_change_is_done_again_and_nothing_else(tmp_path):
    Bench(tmp_path).run()
    changed = Bench(tmp_path, by=2)
    states = {stage.name: changed.stages.state(stage) for stage in changed.stages.stages}
    assert states["a: count"].why == "by was 1 and is now 2"
    assert states["a: tell"].why == "a: count"
    assert states["a: make"].done and states["b: make"].done
    assert changed.run() == ["a: count", "a: tell"]


def test_settings_that_come_back_find_what_they_had_made(tmp_path):
    Bench(tmp_path).run()
    answers = tmp_path / "a" / "corpus" / "answers.sqlite"
    answers.write_text("paid")
    assert Bench(tmp_path, size=2).run() == EVERY[:3]
    assert (tmp_path / "a" / "corpus" / "shard").read_text() == "{'size': 2}"
    assert answers.read_text() == "paid", "answers serve any settings"
    assert Bench(tmp_path).run() == []
    assert (tmp_path / "a" / "corpus" / "shard").read_text() == "{'size': 1}"
    assert Bench(tmp_path, size=2).run() == []


def test_what_somebody_removed_is_made_again(tmp_path):
    Bench(tmp_path).run()
    (tmp_path / "a" / "n.json").unlink()
    again = Bench(tmp_path)
    again.stages.forget_lost()
    assert again.run() == ["a: count"]


def test_a_full_disk_is_a_pause(tmp_path):
    import errno

    from synthdiv.study.schedule import run_stages

    def fill():
        raise OSError(errno.ENOSPC, "No space left on device")

    stages = Stages(tmp_path, line_of(["a: generate"], a_generate={"work": fill}))
    with pytest.raises(Paused, match="a: generate: no room left on the disk"):
        run_stages(stages, stages.stages)


def test_a_stage_cut_short_is_done_again(tmp_path):
    bench = Bench(tmp_path)

    def fail():
        (tmp_path / "b").write_text("half")
        raise KeyboardInterrupt

    cut = dataclasses.replace(bench.stages.by_name["b: make"], work=fail)
    with pytest.raises(KeyboardInterrupt):
        bench.stages.do(cut)
    assert Bench(tmp_path).run() == EVERY


@pytest.mark.parametrize("killed_at", range(1, 8))
def test_a_kill_while_outputs_are_moved_loses_nothing(tmp_path, monkeypatch, killed_at):
    """Killed at every rename and write on the way from one setting to the other and back."""
    from synthdiv import files
    from synthdiv.study import stages as module

    Bench(tmp_path).run()
    left = killed_at

    def killed(real):
        def call(*arguments, **named):
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(module.files, "write_json", killed(files.write_json))
        patch.setattr(type(tmp_path), "rename", killed(type(tmp_path).rename))
        with pytest.raises(KeyboardInterrupt):
            Bench(tmp_path, size=2).run()
    Bench(tmp_path).run()
    assert (tmp_path / "a" / "corpus" / "shard").read_text() == "{'size': 1}"
    Bench(tmp_path, size=2).run()
    assert (tmp_path / "a" / "corpus" / "shard").read_text() == "{'size': 2}"


def test_a_stage_that_is_at_work_elsewhere_is_left_alone(tmp_path):
    bench = Bench(tmp_path)
    stage = bench.stages.by_name["b: make"]
    (tmp_path / "stages").mkdir()
    with bench.stages._lock(stage.file), pytest.raises(AtWork, match="at work in"):
        bench.stages.do(stage)
    asking = dataclasses.replace(stage, asks=True)
    with bench.stages._lock("asking"), pytest.raises(AtWork):
        bench.stages.do(asking)


def test_what_a_version_without_a_graph_had_done_is_taken_over(tmp_path):
    Bench(tmp_path).run()
    for record in (tmp_path / "stages").glob("*.json"):
        record.unlink()
    bench = Bench(tmp_path)
    (tmp_path / "b").unlink()  # a log may say more than is there
    bench.stages.adopt({"a: make": 1.0, "b: make": 1.0})
    assert bench.run() == ["a: count", "a: tell", "b: make"]


def test_values_of_several_lines_and_the_later_of_two_bindings_count():
    several = "Study.real = \\\n    ('a',\n     'b')\nStudy.seed = 1\n"
    assert bindings_of(several) == {"Study.real": "('a', 'b')", "Study.seed": "1"}
    assert bindings_of(several + "Study.real = ('c',)\n")["Study.real"] == "('c',)"


def test_caps_and_addresses_are_no_part_of_a_study():
    head = "# Parameters for judge/LLM:\n# " + "=" * 78 + "\n"
    free = f"{head}judge/LLM.max_calls = 40\nLLM.concurrency = 3\nwriter/a/LLM.base_url = 'x'\n"
    assert bindings_of(free + "Study.seed = 1\n") == {"Study.seed": "1"}
    for other in ("judge/LLM.model = 'x'", "LLM.max_calls_ = 3"):
        assert bindings_of(f"{free}{other}\n")


def line_of(names, **changes):
    """Stages of which each needs the one before; `changes` are made to single ones."""
    made, before = [], []
    for name in names:
        stage = Stage(name, lambda: None, {}, before)
        made.append(dataclasses.replace(stage, **changes.get(name.replace(": ", "_"), {})))
        before = [name]
    return made


def test_a_pause_keeps_nothing_from_going_on_that_does_not_need_it(tmp_path):
    from synthdiv.study.schedule import run_stages

    def pause():
        raise Paused("no money left", {"max_cost_usd": 3.0})

    first = line_of(["a: generate", "a: score"], a_generate={"work": pause})
    stages = Stages(tmp_path, [*first, *line_of(["b: generate", "b: score"])])
    with pytest.raises(Paused, match="a: generate: no money left") as paused:
        run_stages(stages, stages.stages)
    assert paused.value.flags == {"max_cost_usd": 3.0}
    assert [stages.is_done(stage) for stage in stages.stages] == [False, False, True, True]


def test_a_mistake_names_its_stage(tmp_path):
    from synthdiv.study.schedule import run_stages

    def refuse():
        raise UserError("no such file")

    stages = Stages(tmp_path, line_of(["a: generate"], a_generate={"work": refuse}))
    with pytest.raises(UserError, match="^a: generate: no such file$"):
        run_stages(stages, stages.stages)


def test_shards_share_the_runs_and_each_has_what_it_needs(tmp_path):
    from synthdiv.study.run import of_shard

    made = [Stage("shared: tokens", lambda: None, {})]
    made += [Stage(f"{n}: score", lambda: None, {}) for n in range(3)]
    for run in range(5):
        made.append(Stage(f"{run}: pretrain", lambda: None, {}, ["shared: tokens"], run=run))
        made.append(Stage(f"{run}: measure", lambda: None, {}, [f"{run}: pretrain"], run=run))
    stages = Stages(tmp_path, made)
    parts = [[stage.name for stage in of_shard(stages, (k, 2))] for k in (1, 2)]
    assert all("shared: tokens" in part for part in parts)
    for name in {stage.name for stage in made} - {"shared: tokens"}:
        assert sum(name in part for part in parts) == 1
    assert of_shard(stages, None) == made


def _die_once(folder, name):
    import os
    import signal

    from synthdiv.study.processes import Ended

    if not (folder / name).exists():
        (folder / name).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"{name} done").write_text(str(len(multiprocessing.active_children())))
    return Ended("done")


def test_a_process_that_was_killed_is_told_from_one_that_ended(tmp_path):
    from functools import partial

    from synthdiv.study.processes import Processes

    with Processes(partial(_die_once, tmp_path), 1) as processes:
        ends = []
        while len(ends) < 2:
            processes.start("x")
            while processes.running:
                ends += [end for _, end in processes.ended(1.0)]
    assert [end.kind for end in ends] == ["killed", "done"] and ends[0].words == "SIGKILL"


def test_a_result_that_somebody_changed_is_named_and_one_removed_made_again(tmp_path):
    Bench(tmp_path).run()
    Bench(tmp_path).stages.check_results()
    result, record = tmp_path / "a" / "n.json", tmp_path / "stages" / "a.count.json"
    result.write_text("999")
    with pytest.raises(UserError, match=r"n\.json is not as 'a: count' left it.*remove it"):
        Bench(tmp_path).stages.check_results()
    before = files.read_json(record)
    before.pop("results")
    files.write_json(record, before)
    Bench(tmp_path).stages.check_results()  # of an earlier version
    assert Bench(tmp_path).run() == []
    result.unlink()
    again = Bench(tmp_path)
    again.stages.forget_lost()
    assert again.run() == ["a: count"]
    again.stages.check_results()


@pytest.mark.parametrize("words", ["{", "[]", "{}"])
def test_a_damaged_record_is_told_with_what_to_do(tmp_path, words):
    Bench(tmp_path).run()
    (tmp_path / "stages" / "a.count.json").write_text(words)
    with pytest.raises(UserError, match="remove it, and 'a: count' is done again"):
        Bench(tmp_path).run()
    (tmp_path / "stages" / "a.count.json").unlink()
    assert Bench(tmp_path).run() == ["a: count"]
