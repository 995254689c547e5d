"""Filtering a corpus: what is found, what stays, what is said of the rest, and kills."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthdiv.baselines.near_duplicates import NearDuplicates
from synthdiv.baselines.words import hash_batch
from synthdiv.corpora import Corpus
from synthdiv.curation import Against, FilterConfig, FilterWork, filter_corpus, plan_filter
from synthdiv.curation.duplicates import find_twins
from synthdiv.curation.examine import distinct_shingles
from synthdiv.curation.language import other_language
from synthdiv.curation.normal import normal_form
from synthdiv.curation.phrases import breaks_off, read_phrases
from synthdiv.errors import UserError
from synthdiv.files import read_manifest
from tests.curation.planted import (
    jaccard,
    real_texts,
    recall_precision,
    with_duplicates,
    with_items,
)

GOOD = (
    "Bees build combs of wax in which they keep honey for the winter. A colony has one queen, "
    "and her workers feed the brood, guard the hive and fly out for nectar."
)
WORDS = "river stone lamp winter garden copper engine letter bridge market salt cotton".split()  # noqa: SIM905


def sentences(seed: int, count: int = 12) -> str:
    """A text without meaning that no other seed has in common with it."""
    draw = random.Random(seed)
    return " ".join(
        f"The {draw.choice(WORDS)} of the {draw.choice(WORDS)} was {draw.choice(WORDS)} number "
        f"{draw.randrange(10**6)} in the {draw.choice(WORDS)}."
        for _ in range(count)
    )


def filtered(
    texts: list[Any], tmp_path: Path, against: Against | None = None, **settings: Any
) -> tuple[list[str], dict[str, str], dict[str, Any]]:
    """The ids that stay, the others with their reasons, and the manifest."""
    work = FilterWork(Corpus(texts), FilterConfig(**settings), against or Against())
    manifest = filter_corpus(work, tmp_path / "out", workers=0)
    lines = (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()
    dropped = [json.loads(line) for line in lines]
    stay = [document.id for document in Corpus(tmp_path / "out")]
    return stay, {one["id"]: one["reason"] for one in dropped}, manifest


BAD = {
    "refusal": "I'm sorry, but I can't write about this topic. Please ask me for something else.",
    "leaked_prompt": "Certainly! Here is the text you asked for. " + GOOD,
    "self_reference": GOOD + " According to the passage, the queen is fed by her workers.",
    "truncated": GOOD + " In spring the colony divides, and the old queen leaves with the",
    "repetition": "It goes on and on and never comes to an end. " * 9,
    "language": "Die Bienen bauen Waben aus Wachs, in denen sie den Honig f\u00fcr den Winter "
    "aufbewahren. Ein Volk hat eine K\u00f6nigin, und die Arbeiterinnen bewachen den Stock.",
    "short": " \n",
    "duplicate": GOOD.upper(),
    "near_duplicate": "Well then. " + GOOD,
}


def test_each_fault_is_dropped_under_its_name_and_counted(tmp_path: Path) -> None:
    texts = [{"id": "good", "text": GOOD}, {"id": "other", "text": sentences(0)}]
    texts += [{"id": name, "text": text} for name, text in BAD.items()]
    stay, dropped, manifest = filtered(texts, tmp_path)
    assert stay == ["good", "other"]
    assert dropped == {name: name for name in BAD}
    assert manifest["dropped"]["by_reason"] == dict.fromkeys(manifest["dropped"]["by_reason"], 1)
    assert manifest["documents"] == 2 and manifest["languages"] == ["en"]


@pytest.mark.parametrize("name", [name for name in BAD if name != "short"])
def test_a_check_that_is_only_counted_drops_nothing(name: str, tmp_path: Path) -> None:
    texts = [{"id": "good", "text": GOOD}, {"id": "bad", "text": BAD[name]}]
    stay, dropped, manifest = filtered(texts, tmp_path, drop=(), count=(name,))
    assert stay == ["good", "bad"] and dropped == {} and manifest["found"] == {name: 1}


INNOCENT = [
    'I am sorry, said the old man. "I can\'t help but wonder where the boat went."',
    "As an artist she was unknown. Her pictures were found in an attic of the town in 1931.",
    "Roses are red,\nViolets are blue,\nSugar is sweet,\nAnd so are you",
    "Tools that you need:\n\n- a saw with fine teeth\n- a hammer and some nails\n- wood glue",
    "The passage of the bill took three years, and its text was changed more than once in them.",
    "```python\nprint('a b c d e f g h')\n```",
    "I'm sorry, but I can't come on Friday, wrote Tom to his aunt in the spring.",
    "I cannot provide a better account of the battle than the one that my father left.",
    "As an AI language model reads a text, it splits words into smaller tokens.",
    "I must decline the honour, he wrote to the king.",
    "I cannot help with the harvest this year, said the farmer.",
    "The request violates the treaty of 1815, said the envoy.",
    "But I can't write a story without a dog.",
    "Passage 2 of the cave is flooded in winter, and divers map it in spring.",
    "The text above the door was carved in 1612.",
    "The passage below the castle leads to the river.",
    "The passage provides a link between two halls. Passage four was closed.",
    "Based on the passage of time, the rings of a tree are counted.",
    "Language models are old. Used as a language model, BERT is weak.",
    "He knocked twice at the old door until they let him come in",
    "They never found the bus that the two men were waiting for",
    "The crowd looks for a moment and then moves on",
    "\u201cWhere did they go?\u201d asked a captain. \u201cWe do not know it,\u201d he said.",
]


@pytest.mark.parametrize("text", INNOCENT)
def test_good_texts_that_look_like_bad_ones_stay(text: str) -> None:
    found = read_phrases(FilterConfig()).faults(text)
    assert found == [] and breaks_off(text) is None


REFUSALS = [
    "I'm sorry, but I can't assist with that request.",
    "I\u2019m sorry, but I can\u2019t help with that.",
    "I cannot write content that promotes violence.",
    "I'm sorry, but as an AI language model, I cannot write about this.",
    "As an AI developed by OpenAI, I can't browse the web.",
    "As an AI language model, I don't have personal experiences.",
    "Sorry, but I can't do that.",
    "I apologize, but I cannot fulfill this request.",
    "My apologies, but I am unable to generate this content.",
    "I'm unable to provide information about that.",
    "Unfortunately, I cannot comply with your request.",
    "I cannot assist you with creating weapons.",
    "I'm sorry, but I can't write a story about that.",
    "I must decline this request.",
    "I'm sorry, but I don't have enough information to write the text.",
    "I do not feel comfortable writing this type of content.",
    "I'm sorry, but I can't write about this topic. Please ask me for something else.",
]
OF_THEMSELVES = [
    "This passage discusses the bees of Ghent.",
    "The text above describes how bees live.",
    "According to passage 2, bees are old.",
    "According to the passage, bees eat honey.",
]


def test_refusals_of_requests_and_texts_that_speak_of_themselves_are_found() -> None:
    phrases = read_phrases(FilterConfig())
    for check, texts in (("refusal", REFUSALS), ("self_reference", OF_THEMSELVES)):
        assert [t for t in texts if check not in {f.check for f in phrases.faults(t)}] == []


def test_a_text_without_a_letter_of_a_wanted_script_is_in_another_language() -> None:
    for text in ("\u4f60\u597d\u3002", "\u0414\u0430."):
        assert other_language(text, ("en",), 0.9)
    assert other_language("\u4f60\u597d\u3002", ("zh",), 0.9) is None
    for text in ("\u03c0", "3 + 4 = 7", "na\u00efve", "A \u4f60\u597d!"):
        assert other_language(text, ("en",), 0.9) is None


def test_the_earlier_document_of_a_line_is_one_that_stays(tmp_path: Path) -> None:
    near = BAD["near_duplicate"]
    texts = [{"id": None, "text": GOOD}, {"id": "b", "text": near}, {"id": "c", "text": near}]
    stay, dropped, _ = filtered(texts, tmp_path)
    assert stay == ["0"] and dropped == {"b": "near_duplicate", "c": "near_duplicate"}
    lines = (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()
    told = [(one["earlier"], one["earlier_index"]) for one in map(json.loads, lines)]
    assert told == [("0", 0)] * 2


def test_an_empty_file_of_what_must_not_be_held_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(UserError, match=r"none\.jsonl' has no texts"):
        filtered([GOOD], tmp_path, Against(files=(tmp_path / "none.jsonl",)))
    assert not (tmp_path / "out").exists()


def test_nothing_goes_for_the_likeness_of_something_that_went(tmp_path: Path) -> None:
    refusal = BAD["refusal"] + " " + GOOD
    texts = [
        {"id": "refusal", "text": refusal},
        {"id": "good", "text": GOOD + " " + BAD["refusal"]},
    ]
    stay, dropped, _ = filtered(texts, tmp_path)
    assert stay == ["good"] and dropped == {"refusal": "refusal"}


def test_a_chain_of_likenesses_keeps_what_is_far_from_all_that_stays(tmp_path: Path) -> None:
    words = sentences(3, 20).split()
    texts = [" ".join(words[start : start + 120]) + "." for start in (0, 12, 24, 36)]
    alike = [jaccard(texts[0], text) for text in texts[1:]]
    assert alike[0] > 0.7 > alike[1]
    stay, dropped, _ = filtered(texts, tmp_path, drop=("near_duplicate",), count=())
    assert stay == ["0", "2"] and dropped == {"1": "near_duplicate", "3": "near_duplicate"}


def test_near_duplicates_are_those_that_the_sets_of_shingles_say() -> None:
    """Greedy search over all pairs, by Python's sets, finds the same twins."""
    draw = random.Random(5)
    texts = [sentences(seed) for seed in range(30)]
    for number in range(60):
        words = texts[draw.randrange(30)].split()
        for _ in range(draw.randrange(12)):
            words[draw.randrange(len(words))] = f"x{number}"
        texts.append(" ".join(words))
    batch = hash_batch(0, [normal_form(text) for text in texts])
    shingles, edges = distinct_shingles(batch, 5)
    signatures = NearDuplicates(5, 64).prepare(batch)
    found = find_twins(
        None,
        signatures,
        np.ones(len(texts), bool),
        lambda n: shingles[edges[n] : edges[n + 1]],
        0.7,
    )
    stay: list[int] = []
    expected = []
    for number, text in enumerate(texts):
        alike = any(jaccard(texts[other], text) >= 0.7 for other in stay)
        expected.append(alike)
        stay += [] if alike else [number]
    assert (found.of >= 0).tolist() == expected and 20 < sum(expected) < 60


QUESTION = {
    "id": "q1",
    "question": "Which part of a plant takes up water and minerals out of the soil around it?",
    "choices": {"text": ["the root", "the leaf"], "label": ["A", "B"]},
    "answerKey": "A",
}


def test_questions_of_tasks_are_found_whole_and_in_part(tmp_path: Path) -> None:
    (tmp_path / "arc_easy_test.jsonl").write_text(json.dumps(QUESTION) + "\n")
    (tmp_path / "arc_easy_train.jsonl").write_text(
        json.dumps(
            QUESTION
            | {"question": "In which of the seasons do most of the trees that we know lose leaves?"}
        )
    )
    own = [{"q": "The mill on the hill was built by a miller from Ghent in the year 17"}]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, own)))
    texts = {
        "whole": f"{GOOD} {QUESTION['question']} Nobody asked.",
        "shouted": f"{GOOD} {QUESTION['question'].upper()}",
        "part": f"{sentences(1)} Which part of a green plant takes up the water and minerals "
        f"out of the soil around it? {sentences(2)}",
        "own": sentences(4)
        + " The mill on the hill was built by a miller from Ghent in the year 17.",
        "train": f"{GOOD} In which of the seasons do most of the trees that we know lose leaves?",
        "near": f"{sentences(5)} Which part of a plant makes sugar out of light and air in summer?",
    }
    rows = [{"id": name, "text": text} for name, text in texts.items()]
    against = Against(tmp_path, ("arc_easy",), (tmp_path / "own.jsonl",))
    checks = ("contaminated", "contaminated_fuzzy")
    stay, dropped, manifest = filtered(rows, tmp_path, against, drop=checks, count=())
    assert dropped == {
        "whole": "contaminated",
        "shouted": "contaminated",
        "part": "contaminated_fuzzy",
        "own": "contaminated",
    }
    assert manifest["contamination"]["documents_by_source"] == {"arc_easy": 3, "own": 1}
    told = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").open()]
    assert told[0]["item"] == "arc_easy, arc_easy_test.jsonl line 1"
    assert told[0]["evidence"] == "which part of a plant takes up water and minerals out of the"


def test_what_is_planted_in_real_documents_is_found(shared_data: Path, tmp_path: Path) -> None:
    texts = [
        text
        for name in ("text/c4_sample_300", "synthetic/tinystories")
        for text in real_texts(shared_data, name, 300)
        if len(text.split()) > 80
    ]
    planted = with_duplicates(texts, 0.2, 0.75, seed=1)
    checks = ("duplicate", "near_duplicate")
    _, dropped, _ = filtered(planted.texts, tmp_path, drop=checks, count=())
    found = {int(name) for name in dropped}
    innocent = {
        n
        for n in found - set(planted.planted)
        if all(jaccard(planted.texts[n], other) < 0.7 for other in planted.texts[:n])
    }
    recall, precision = recall_precision(found, set(planted.planted), innocent)
    assert len(planted.planted) > 80 and recall >= 0.98 and precision >= 0.98


@pytest.mark.slow
def test_planted_evaluation_questions_are_found(shared_data: Path, tmp_path: Path) -> None:
    """Of all tasks; no innocent document of four real corpora is dropped for them."""
    names = ("text/classic_books_0", "synthetic/tinystories", "text/c4_sample_300",
             "synthetic/library_of_phi_mistral_7b_ft_full_synth_nested")  # fmt: skip
    texts = [text for name in names for text in real_texts(shared_data, name, 2500)]
    against = Against(shared_data / "eval")
    checks = ("contaminated", "contaminated_fuzzy")
    _, before, _ = filtered(texts, tmp_path / "before", against, drop=checks, count=())
    items = [i for i in against.items() if len(normal_form(i.text).split()) >= 8]
    chosen = random.Random(2).sample(items, 1500)
    planted = with_items(texts, chosen, seed=3)
    _, dropped, _ = filtered(planted.texts, tmp_path / "after", against, drop=checks, count=())
    innocent = set(range(len(texts))) - set(planted.planted)
    found = {int(name) for name in dropped}
    recall, precision = recall_precision(found, set(planted.planted), innocent)
    by_kind = {
        kind: np.mean([n in found for n, k in planted.planted.items() if k == kind])
        for kind in ("as it is", "changed")
    }
    print(f"\n{len(texts):,} documents, {len(planted.planted):,} planted, {len(before)} held some "
          f"before: recall {recall:.4f} {by_kind}, precision {precision:.4f}")  # fmt: skip
    assert recall >= 0.98 and precision >= 0.98


def test_a_killed_run_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthdiv.baselines.words.BATCH_DOCUMENTS", 10)
    texts = [sentences(seed % 80) for seed in range(100)]
    settings: dict[str, Any] = {"shard_documents": 15}

    def run(name: str) -> dict[str, Any]:
        work = FilterWork(Corpus(texts), FilterConfig(**settings), Against())
        return filter_corpus(work, tmp_path / name, workers=0)

    whole = run("whole")
    for place, target in enumerate(
        (
            "synthdiv.curation.examine.Findings.write",
            "synthdiv.files.CorpusWriter.write",
            "synthdiv.files.CorpusWriter.close",
            "synthdiv.curation.filtering.decide",
        )  # fmt: skip
    ):
        calls = 0
        module, _, name = target.rpartition(".")
        owner, _, holder = module.rpartition(".")
        import importlib

        try:
            held: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            held = getattr(importlib.import_module(owner), holder)
        true = getattr(held, name)

        def dies(*arguments: Any, true: Any = true, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3 or (calls == 1 and true.__name__ in ("close", "decide")):
                raise KeyboardInterrupt
            return true(*arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(held, name, dies)
            with pytest.raises(KeyboardInterrupt):
                run(f"killed{place}")
        assert read_manifest(tmp_path / f"killed{place}") is None
        assert run(f"killed{place}") == whole
        names = {path.name for path in (tmp_path / "whole").iterdir()}
        assert {path.name for path in (tmp_path / f"killed{place}").iterdir()} == names
        for shard in names - {"fingerprint.json", "README.md"}:  # it has the directory's name
            same = (tmp_path / "whole" / shard, tmp_path / f"killed{place}" / shard)
            assert same[0].read_bytes() == same[1].read_bytes()
    assert whole["documents"] == 80


def test_other_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthdiv.baselines.words.BATCH_DOCUMENTS", 40)
    texts = [sentences(seed % 80) for seed in range(120)] + ["half a pair \ud800 in a text"]
    done = []
    for workers in (0, 1):
        work = FilterWork(Corpus(texts), FilterConfig(), Against())
        done.append(filter_corpus(work, tmp_path / f"{workers}", workers))
    assert done[0] == done[1] and done[0]["documents"] == 81


def test_rows_keep_their_columns(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "What is it?", "answer": "A bee.", "level": 3}]
    work = FilterWork(Corpus(rows, text_template="{question} {answer}"), FilterConfig(), Against())
    filter_corpus(work, tmp_path / "out", 0)
    [document] = Corpus(tmp_path / "out")
    assert document.text == "What is it? A bee."
    assert document.provenance == {"question": "What is it?", "answer": "A bee.", "level": 3}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"drop": ("duplicates",)}, "did you mean 'duplicate'"),
        ({"drop": "duplicate"}, "list of names"),
        ({"drop": ("opening",)}, "choose one"),
        ({"ngram": 1}, "from 2 to 64"),
        ({"near_threshold": 0.0}, "above 0"),
        ({"permutations": 66}, "multiple of 4"),
        ({"languages": ("xx",)}, "no language 'xx'"),
        ({"phrases": "nowhere.json"}, "no file"),
    ],
)
def test_mistakes_are_told(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        filtered([GOOD], tmp_path, **settings)
    assert not (tmp_path / "out").exists()


def test_rows_of_several_shapes(tmp_path: Path) -> None:
    rows = [{"text": GOOD}, {"text": sentences(1), "level": 3}]
    filter_corpus(FilterWork(Corpus(rows), FilterConfig()), tmp_path / "out", 0)
    assert [d.provenance for d in Corpus(tmp_path / "out")] == [{"level": None}, {"level": 3}]
    mixed = [*rows, {"text": sentences(2), "level": "high"}]
    with pytest.raises(UserError, match="column 'level' holds values of several kinds"):
        filter_corpus(FilterWork(Corpus(mixed), FilterConfig()), tmp_path / "mixed", 0)
    assert not (tmp_path / "mixed").exists()


def test_a_corpus_of_which_nothing_stays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no document stays.*: 2 refusal"):
        filtered([BAD["refusal"], BAD["refusal"] + " Sorry."], tmp_path)


def test_a_directory_of_other_work_is_refused_and_a_plan_touches_nothing(tmp_path: Path) -> None:
    work = FilterWork(Corpus([GOOD, sentences(1)]), FilterConfig(), Against())
    plan = plan_filter(work, tmp_path / "out")
    assert plan.figures == {"documents": 2, "items": 0} and not (tmp_path / "out").exists()
    first = filter_corpus(work, tmp_path / "out", 0)
    assert filter_corpus(work, tmp_path / "out", 0) == first
    other = FilterWork(work.corpus, FilterConfig(near_threshold=0.9), Against())
    with pytest.raises(UserError, match="near_threshold was 0.7 and is now 0.9"):
        filter_corpus(other, tmp_path / "out", 0)


def test_the_command_says_what_went_and_why(tmp_path: Path, run_command: Any) -> None:
    rows = [{"text": GOOD}, {"text": BAD["refusal"]}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["filter", f"--input={tmp_path}/in.jsonl", f"--output={tmp_path}/out"]
    planned = run_command(*arguments, "--dry_run")
    assert planned.code == 0 and "2 in" in planned.stdout and not (tmp_path / "out").exists()
    done = run_command(*arguments)
    assert done.code == 0 and "1 of 2 documents stay" in done.stdout
    assert "refusal" in done.stdout and "1 dropped" in done.stdout
    assert run_command(*arguments, "--tasks=arc_easy").stderr.startswith("error: --tasks")
