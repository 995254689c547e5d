"""More classes, styles, personas or vocabularies score higher; duplicates score lower.

With the labels as the judge the score rises strictly in every order of the classes; with the
offline judge on the mean over orders (see planted.py for why). `-s` prints the figures that
docs/diary.md has.
"""

import random
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from synthdiv.llm import LLMConfig, open_session
from tests.diversity import planted

LABELLED = {
    "newsgroups20": lambda data: planted.by_class(data / "labels/newsgroups20.jsonl.gz", words=120),
    "clinc150, intents": lambda data: planted.by_class(
        data / "labels/clinc150.jsonl.gz", without="oos"
    ),
    "clinc150, domains": lambda data: planted.by_class(
        data / "labels/clinc150.jsonl.gz", "domain", without="oos"
    ),
    "clinc150, domains, 15 a document": lambda data: planted.by_class(
        data / "labels/clinc150.jsonl.gz", "domain", 80, 15, "oos"
    ),
    "octis_m10": lambda data: planted.by_class(data / "labels/octis_m10.jsonl"),
    "octis_m10, 16 a document": lambda data: _large(
        planted.by_class(data / "labels/octis_m10.jsonl", words=60, join=16)
    ),
    "octis_dblp": lambda data: planted.by_class(data / "labels/octis_dblp.jsonl.gz"),
    "octis_dblp, 16 a document": lambda data: planted.by_class(
        data / "labels/octis_dblp.jsonl.gz", words=60, join=16
    ),
    "nine kinds of text": planted.kinds_of_text,
}


def _large(classes: planted.Classes) -> planted.Classes:
    return {name: texts for name, texts in classes.items() if len(texts) >= 40}


def _rises(name: str, counts: list[int], found: np.ndarray) -> None:
    """Prints and checks curves, `[orders, counts, 2]`."""
    offline, perfect = found[..., 0], found[..., 1]
    single = [spearmanr(counts, curve).statistic for curve in offline]
    mean = spearmanr(counts, offline.mean(0)).statistic
    print(f"\n{name}: classes {counts}, {len(found)} orders")
    print(f"  labels  {np.round(perfect.mean(0), 2).tolist()}")
    print(f"  offline {np.round(offline.mean(0), 2).tolist()}, Spearman {mean:.2f}")
    least, strict = min(single), np.mean(np.array(single) > 0.999)
    print(
        f"  Spearman of single orders {np.mean(single):.2f}, least {least:.2f}, 1.0 in {strict:.0%}"
    )
    assert (np.diff(perfect, axis=1) > 0).all(), perfect
    assert mean >= 0.95, offline.mean(0)
    assert offline.mean(0)[-1] > offline.mean(0)[0]


def _size(classes: planted.Classes) -> int:
    return min(min(map(len, classes.values())), 150)


def test_more_newsgroups_score_higher(shared_data, tmp_path):
    classes = LABELLED["newsgroups20"](shared_data)
    counts = [1, 4, 16]
    _rises("newsgroups20", counts, planted.curves(classes, counts, tmp_path, 4, 60, 80))


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELLED)
def test_more_classes_score_higher(shared_data, tmp_path, name):
    classes = LABELLED[name](shared_data)
    counts = planted.doubling(len(classes))
    # Every class at each place equally often, but for the 150 intents.
    number = {4: 12, 150: 20}.get(len(classes), len(classes))
    found = planted.curves(classes, counts, tmp_path, number, 200, _size(classes))
    _rises(name, counts, found)


def test_more_styles_score_higher(tmp_path):
    classes = planted.styles(tmp_path, texts=80)
    _rises("styles", [1, 2, 5], planted.curves(classes, [1, 2, 5], tmp_path, 5, 60, 80))


def test_more_vocabularies_score_higher(tmp_path):
    classes = planted.vocabularies(8, 80)
    counts = [1, 2, 4, 8]
    _rises("vocabularies", counts, planted.curves(classes, counts, tmp_path, 2, 60, 80))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["styles", "personas", "vocabularies"])
def test_more_planted_differences_score_higher(tmp_path, name):
    if name == "styles":
        classes, counts, number = planted.styles(tmp_path), [1, 2, 3, 4, 5], 10
    elif name == "personas":
        classes, counts, number = planted.personas(tmp_path), [1, 2, 4, 8, 16], 16
    else:
        classes, counts, number = planted.vocabularies(), [1, 2, 4, 8, 16], 8
    _rises(name, counts, planted.curves(classes, counts, tmp_path, number, 200, 160))


def _posts(shared_data: Path) -> list[str]:
    """Posts on all subjects, the subjects in turn."""
    classes = LABELLED["newsgroups20"](shared_data)
    return [classes[name][i] for i in range(80) for name in sorted(classes)]


def _falls(shared_data: Path, folder: Path, copies: list[int], changed: float, seeds: int) -> None:
    posts = _posts(shared_data)
    found = []
    with open_session(LLMConfig(), None) as session:
        for seed in range(seeds):
            texts = random.Random(seed).sample(posts, 160)
            found.append(
                [
                    planted.measured(
                        planted.copied(texts, 160, number, changed), folder, session, 200, seed
                    )
                    for number in copies
                ]
            )
    offline, perfect = np.mean(found, 0).T
    share = [round(1 - 1 / number, 2) for number in copies]
    print(f"\ncopies lacking {changed:.0%} of the words, shares of duplicates {share}")
    print(f"  labels  {np.round(perfect, 2).tolist()}\n  offline {np.round(offline, 2).tolist()}")
    assert (np.diff(perfect) < 0).all(), perfect
    assert (np.diff(offline) < 0).all(), offline


@pytest.mark.parametrize("changed", [0.0, 0.1], ids=["exact", "near"])
def test_duplicates_score_lower(shared_data, tmp_path, changed):
    _falls(shared_data, tmp_path, [1, 8, 16], changed, 1)


@pytest.mark.slow
@pytest.mark.parametrize("changed", [0.0, 0.1, 0.2], ids=["exact", "near", "less near"])
def test_the_more_duplicates_the_lower_the_score(shared_data, tmp_path, changed):
    _falls(shared_data, tmp_path, [1, 2, 4, 8, 16], changed, 10)


def test_what_shuffled_words_do(shared_data, tmp_path):
    """Words shuffled within documents are not seen; words dealt anew to all documents are."""
    posts = _posts(shared_data)[:160]
    generator = random.Random(0)
    inside = [" ".join(generator.sample(text.split(), len(text.split()))) for text in posts]
    words = [word for text in posts for word in text.split()]
    generator.shuffle(words)
    dealt = [" ".join(words[i * 120 : (i + 1) * 120]) for i in range(160)]
    with open_session(LLMConfig(), None) as session:
        plain, within, across = (
            planted.measured([("", text) for text in texts], tmp_path, session, 200)[0]
            for texts in ([" ".join(text.split()) for text in posts], inside, dealt)
        )
    print(f"\nplain {plain:.2f}, shuffled within documents {within:.2f}, across {across:.2f}")
    assert abs(within - plain) < 0.3
    assert across != pytest.approx(plain, abs=0.3)
