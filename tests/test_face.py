"""`import synthdiv` in a notebook: instant, and a score of whatever holds texts."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import synthdiv
from synthdiv import files
from synthdiv.diversity import ScoreConfig
from synthdiv.errors import UserError

ABOUT = (
    "The river floods its banks in spring, and farmers on the plain wait for the mud.",
    "Tax law asks a company to report income in the year in which it is earned!",
    "Sing the chorus twice, then let the violins answer in a minor key?",
    "def sort(values): return sorted(values, key=abs)  # by distance from zero",
    "Whisk the eggs, fold in the flour, and bake the cake until it is golden.",
)
TEXTS = [f"{about} This is note {i} of {i * i}." for i in range(6) for about in ABOUT]
SMALL = ScoreConfig(
    rounds=10,
    criteria_rounds=4,
    criteria_sets=2,
    control_rounds=20,
    bootstrap=100,
    with_baselines=False,
)


def test_two_corpora_alike_in_every_round_differ_by_nothing(tmp_path: Path) -> None:
    alike = [f"alpha beta gamma {i}" for i in range(30)]
    config = replace(SMALL, criteria_rounds=5, control_rounds=0)
    both = {"one": alike, "other": alike}
    synthdiv.compare_corpora(both, config=config, output=tmp_path)
    written = (tmp_path / "comparison.json").read_text()
    [found] = json.loads(written)["differences"]
    assert "NaN" not in written
    assert (found["difference"], found["ci95"], found["p_value"]) == (0, [0, 0], 1)


def test_importing_it_loads_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import synthdiv; "
        "print(sorted(m for m in set(sys.modules) - before if 'synthdiv' in m)); "
        "synthdiv.Corpus; print([m for m in ('pyarrow', 'numpy', 'absl', 'jax', 'openai', "
        "'sklearn', 'pandas', 'datasets', 'tensorflow_datasets') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    first, then = done.stdout.splitlines()
    assert first == "['synthdiv']" and then == "[]"


def test_everything_that_is_offered_is_there() -> None:
    assert all(callable(getattr(synthdiv, name)) for name in synthdiv.__all__)
    assert set(synthdiv.__all__) <= set(dir(synthdiv))
    with pytest.raises(AttributeError, match="attribute diversity_scores"):
        _ = synthdiv.diversity_scores  # type: ignore[attr-defined]


def test_every_kind_of_data_has_the_same_score(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    datasets = pytest.importorskip("datasets")
    score = synthdiv.diversity_score(TEXTS, config=SMALL, output=tmp_path)
    low, high = score.ci95
    assert low <= score.mean <= high
    assert json.loads(json.dumps(score.to_json())) == files.read_json(tmp_path / "score.json")
    for data in (pandas.DataFrame({"body": TEXTS}), datasets.Dataset.from_dict({"body": TEXTS})):
        same = synthdiv.diversity_score(data, text_column="body", config=SMALL)
        assert (same.mean, same.ci95) == (score.mean, score.ci95)
    assert len(synthdiv.diversity_score(TEXTS, config=SMALL, rounds=4).rounds) == 4


def test_corpora_are_compared_under_the_names_that_they_are_given() -> None:
    narrow = [text for text in TEXTS if "river" in text] * 3 + TEXTS[:4]
    found = synthdiv.compare_corpora({"broad": TEXTS, "narrow": narrow}, config=SMALL)
    assert list(found.scores) == ["broad", "narrow"]
    assert found.scores["broad"].mean > found.scores["narrow"].mean
    assert found.differences[0].corpora == ("broad", "narrow")
    with pytest.raises(UserError, match="two corpora or more"):
        synthdiv.compare_corpora({"broad": TEXTS})


def test_baselines_of_a_list() -> None:
    repeated = synthdiv.baseline_metrics(TEXTS * 4)
    assert repeated["documents"] == 4 * len(TEXTS)
    assert repeated["compression_ratio"] > synthdiv.baseline_metrics(TEXTS)["compression_ratio"]


@pytest.mark.slow
def test_type_checkers_know_what_it_offers(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "notebook.py").write_text(
        "from synthdiv import baseline_metrics, diversity_score\n"
        "reveal_type(diversity_score(['a']).mean)\n"
        "reveal_type(baseline_metrics([{'text': 'a'}]))\n"
        "diversity_score(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "notebook.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(synthdiv.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert 'Revealed type is "float"' in done.stdout, done.stdout
    assert 'Revealed type is "dict[str, float]"' in done.stdout
    assert "incompatible type" in done.stdout and "Found 1 error" in done.stdout


def test_a_directory_keeps_the_score_that_it_was_claimed_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthdiv.diversity_score(TEXTS, config=SMALL, output=out)
    before = (out / "score.json").read_bytes()
    for other in (
        lambda: synthdiv.diversity_score(TEXTS[1:], config=SMALL, output=out),
        lambda: synthdiv.compare_corpora({"a": TEXTS, "b": TEXTS}, config=SMALL, output=out),
    ):
        with pytest.raises(UserError, match=r"holds another score \(corpora"):
            other()
        assert (out / "score.json").read_bytes() == before
    synthdiv.diversity_score(TEXTS, config=SMALL, rounds=12, output=out)  # goes on


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", 3, "n" * 300, "comparison.json"])
def test_a_comparison_writes_nowhere_else(name: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="corpus"):
        synthdiv.compare_corpora(
            {"a": TEXTS, name: TEXTS},  # type: ignore[dict-item]
            config=SMALL,
            output=tmp_path / "out",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rounds": "ten"}, "Score.rounds takes int, not 'ten'"),
        ({"rounds": 1.5}, "Score.rounds takes int, not 1.5"),
        ({"rounds": True}, "Score.rounds takes int, not True"),
        ({"judge": "openai"}, "judge takes an LLMConfig"),
        ({"config": {"rounds": 5}}, "config takes a ScoreConfig, not a dict"),
        ({"output": ""}, "path of a directory, not ''"),
        ({"output": 3}, "path of a directory, not 3"),
    ],
)
def test_an_argument_of_another_type_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        synthdiv.diversity_score(TEXTS, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="names and corpora"):
        synthdiv.compare_corpora([TEXTS, TEXTS])  # type: ignore[arg-type]


def test_a_result_is_a_mapping_of_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    results = [synthdiv.diversity_score(TEXTS, config=SMALL, rounds=1) for _ in range(2)]
    one, same = results
    assert "score" in one and "scores" not in one and dict(one) == one.to_json()
    assert list(one) == list(one.content) and one.get("none") is None
    assert one == same and len({one, same}) == 1
    assert all(math.isnan(end) for end in one.ci95)
    assert "[?, ?]" in str(one) and "? to ?" in one._repr_html_()
    assert capsys.readouterr().err.count("a single usable round has no interval") == len(results)
