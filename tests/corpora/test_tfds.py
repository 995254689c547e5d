"""TFDS in both directions, without TensorFlow: its data sets are read, and it reads ours."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synthdiv.corpora import Corpus
from synthdiv.data import load_tokenizer, tokenize_corpus, train_tokenizer
from synthdiv.data.corpus_export import export_corpus
from synthdiv.diversity import ScoreConfig, cluster_score
from synthdiv.errors import UserError
from synthdiv.files import CorpusWriter

tfds = pytest.importorskip("tensorflow_datasets")

TEXTS = {f"k{i:02}": f"page {i} of the river atlas ☃" for i in range(30)}
ROWS = [
    {
        "id": f"d{i}",
        "text": f"text {i} ☃",
        "n": i,
        "x": i / 3,
        "good": i % 2 == 0,
        "tags": ["a"] * i,
    }
    | {"maybe": None if i else "x", "deep": {"a": [i]}}
    for i in range(5)
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that TFDS itself has built, in two splits."""
    numpy = pytest.importorskip("numpy")
    directory = tmp_path_factory.mktemp("tfds")
    features = tfds.features.FeaturesDict(
        {"text": tfds.features.Text(), "label": tfds.features.Scalar(numpy.int64)}
    )

    class RiverAtlas(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        VERSION = tfds.core.Version("1.2.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples(0), "test": self._generate_examples(20)}

        def _generate_examples(self, first: int) -> Any:
            for i, (key, text) in enumerate(TEXTS.items()):
                if (i >= 20) == bool(first):
                    yield key, {"text": text, "label": i}

    RiverAtlas(data_dir=directory, file_format="array_record").download_and_prepare()
    return directory


def test_a_data_set_by_name_and_by_directory(prepared: Path) -> None:
    train = [
        row["text"].decode()
        for row in tfds.data_source("river_atlas", split="train", data_dir=prepared)
    ]
    assert set(train) == set(list(TEXTS.values())[:20]) and len(train) == 20
    inside = prepared / "river_atlas" / "1.2.0"
    for address in (
        f"tfds:river_atlas:1.2.0?split=train&data_dir={prepared}",
        f"tfds:{inside}?split=train",
    ):
        corpus = Corpus(address)
        assert [d.text for d in corpus] == train and corpus.name == "river_atlas"
    assert [d.text for d in Corpus(f"tfds:{inside}?split=train[5:10]")] == train[5:10]
    # As files, in the order of their names: test before train.
    every = Corpus(inside)
    assert [d.text for d in every][10:] == train and len(every) == 30
    assert next(iter(every)).provenance["label"] >= 20


def test_a_data_set_is_scored_and_tokenized(prepared: Path, tmp_path: Path) -> None:
    corpus = Corpus(f"tfds:river_atlas?split=train&data_dir={prepared}")
    config = ScoreConfig(rounds=5, criteria_rounds=4, criteria_sets=2, with_baselines=False)
    cluster_score(corpus, config, output=tmp_path / "score")
    assert json.loads((tmp_path / "score" / "score.json").read_text())["corpus"]["documents"] == 20
    train_tokenizer([corpus], tmp_path / "tokenizer", 300)
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    made = tokenize_corpus(corpus, tmp_path / "tokens", tokenizer, 32)
    assert made["documents"] == 20 and made["corpus_sha256"] == corpus.sha256
    assert tokenize_corpus(corpus, tmp_path / "tokens", tokenizer, 32) == made


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tfds:river_atlas?data_dir={}", "name one with"),
        ("tfds:river_atlas?split=dev&data_dir={}", "dev"),
        ("tfds:no_such_data_set?split=train&data_dir={}", "no_such_data_set"),
        ("tfds:river_atlas?part=train&data_dir={}", "'part'"),
    ],
)
def test_what_cannot_be_had_is_one_line(prepared: Path, address: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        Corpus(address.format(prepared))
    assert "\n" not in str(refused.value)


def test_damage_is_refused(prepared: Path, tmp_path: Path) -> None:
    source = prepared / "river_atlas" / "1.2.0"
    for path in source.iterdir():
        content = path.read_bytes()
        kept = len(content) * 3 // 4 if "train.array_record" in path.name else len(content)
        (tmp_path / path.name).write_bytes(content[:kept])
    for address in (str(tmp_path), f"tfds:{tmp_path}?split=train"):
        with pytest.raises(UserError) as refused:
            list(Corpus(address))
        assert "\n" not in str(refused.value)


_READ_BY_TFDS_ALONE = """
import json, sys
import tensorflow_datasets as tfds
try:
    import tensorflow
    sys.exit("TensorFlow is here")
except ImportError:
    pass
def plain(value):
    value = value.tolist() if hasattr(value, "tolist") else value
    return value.decode() if isinstance(value, bytes) else (
        [plain(v) for v in value] if isinstance(value, list) else value)
rows = tfds.data_source("my_corpus", split="train", data_dir=sys.argv[1])
print(json.dumps([{k: plain(v) for k, v in row.items()} for row in rows]))
assert not any(m.startswith("synthdiv") for m in sys.modules)
"""


def test_a_corpus_of_ours_is_read_back_by_tfds_alone(tmp_path: Path) -> None:
    writer = CorpusWriter(tmp_path / "My corpus")
    writer.write(ROWS[:3])
    writer.write(ROWS[3:])
    writer.close({})
    corpus = Corpus(tmp_path / "My corpus")
    written = export_corpus(corpus, "tfds", tmp_path / "out")
    assert written == tmp_path / "out" / "my_corpus"
    read = subprocess.run(
        [sys.executable, "-c", _READ_BY_TFDS_ALONE, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert read.returncode == 0, read.stderr
    as_json = ("maybe", "deep")  # what TFDS has no type for
    assert json.loads(read.stdout) == [
        row | {name: json.dumps(row[name]) for name in as_json} for row in ROWS
    ]
    assert list(Corpus(written)) == list(corpus)
    assert list(Corpus(f"tfds:my_corpus?data_dir={tmp_path / 'out'}")) == list(corpus)
    with pytest.raises(UserError, match="is there already"):
        export_corpus(corpus, "tfds", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["my_corpus"]
