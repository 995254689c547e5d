"""A small random Llama with a tokenizer, and a few questions of each task, for the tests."""

import dataclasses
import json
import shutil
from pathlib import Path

from flax import nnx

from synthdiv.data import load_tokenizer, train_tokenizer
from synthdiv.files import Corpus
from synthdiv.model import Llama, ModelConfig, save_hf

CONFIG = ModelConfig(
    vocab_size=768,
    hidden=48,
    mlp=96,
    layers=2,
    heads=4,
    kv_heads=2,
    max_length=320,
    init_std=0.25,  # far from uniform, so that options differ clearly
    dtype="float32",
)


def texts() -> list[str]:
    """English that every Python has: its own reference, a page a document."""
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


def write_tokenizer(directory: Path, kind: str = "bpe") -> Path:
    pages = directory / "pages.jsonl"
    pages.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts()[:40]))
    train_tokenizer([Corpus(pages)], directory / "tokenizer", CONFIG.vocab_size, kind)
    return directory / "tokenizer"


def write_beginning(tokenizer: Path, directory: Path) -> int:
    """A tokenizer whose file puts a token before every text, as Llama 3's; returns that token."""
    shutil.copytree(tokenizer, directory)
    described = json.loads((directory / "tokenizer.json").read_text())
    name, number = "<|begin|>", len(described["model"]["vocab"])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    described["added_tokens"].append({"id": number, "content": name, "special": True} | plain)
    begin, text = (
        {"SpecialToken": {"id": name, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    )
    described["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, text],
        "pair": [begin, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]}},
    }
    (directory / "tokenizer.json").write_text(json.dumps(described))
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": name}))
    return number


def write_checkpoint(directory: Path, tokenizer: Path, seed: int = 0) -> Path:
    """A Hugging Face Llama with random weights."""
    vocab_size = max(CONFIG.vocab_size, load_tokenizer(tokenizer).vocab_size)
    config = dataclasses.replace(CONFIG, vocab_size=vocab_size)
    return save_hf(Llama(config, nnx.Rngs(seed)), config, tokenizer, directory)


def write_own_checkpoint(
    directory: Path, tokenizer: Path, run: dict, config: ModelConfig = CONFIG, seed: int = 0
) -> Path:
    """Random weights as training writes them, as far as evaluation and export read them."""
    # Not at the top: pytest loads this early, and absl's logger would keep the stderr of then.
    import orbax.checkpoint as ocp

    params = nnx.to_pure_dict(nnx.split(Llama(config, nnx.Rngs(seed)))[1])
    with ocp.StandardCheckpointer() as saver:
        saver.save(directory / "params", params)
    (directory / "about").mkdir()
    about = {"model": dataclasses.asdict(config), "run": run}
    (directory / "about" / "metadata").write_text(json.dumps(about))
    shutil.copytree(tokenizer, directory / "tokenizer")
    return directory


_ANIMALS = ("heron", "otter", "lynx", "badger", "wren", "marten", "carp", "newt")
_PLACES = ("a cold lake", "an old barn", "the high moor", "a walled garden", "the salt marsh")


def _arc(i: int) -> dict:
    labels = ["A", "B", "C", "D"] if i % 3 else ["1", "2", "3", "4"]
    return {
        "id": f"q{i}",
        "question": f"Which animal of the {i + 2} was seen last at {_PLACES[i % 5]}?",
        "choices": {"text": [_ANIMALS[(i + k) % 8] for k in range(4)], "label": labels},
        "answerKey": labels[i % 4],
    }


def _hellaswag(i: int) -> dict:
    return {
        "activity_label": "Watching animals",
        "ctx_a": f"A woman walks to {_PLACES[i % 5]} with {i + 2} friends.",
        "ctx_b": "the friends",
        "endings": [f"look at the {_ANIMALS[(i + k) % 8]} and sit down." for k in range(4)],
        "label": str(i % 4),
    }


def _boolq(i: int) -> dict:
    passage = f"The {_ANIMALS[i % 8]} lives by {_PLACES[i % 5]}. " * (1 + i % 3)
    return {
        "question": f"does the {_ANIMALS[i % 8]} live by {_PLACES[(i + i % 2) % 5]}",
        "passage": passage.strip(),
        "answer": i % 2 == 0,
    }


def _social_iqa(i: int) -> dict:
    return {
        "context": f"Robin took {i + 2} guests to {_PLACES[i % 5]} and forgot the map.",
        "question": "What will Robin want to do next?",
        "answerA": "ask for the way",
        "answerB": f"draw a {_ANIMALS[i % 8]}",
        "answerC": "go home without them",
        "label": str(1 + i % 3),
    }


def _winogrande(i: int) -> dict:
    return {
        "sentence": f"Ann thanked Eve for the {i + 2} {_ANIMALS[i % 8]}s because _ had found them.",
        "option1": "Ann",
        "option2": "Eve",
        "answer": str(1 + i % 2),
    }


def _piqa(i: int) -> dict:
    return {
        "goal": f"keep a {_ANIMALS[i % 8]} warm in {_PLACES[i % 5]}",
        "sol1": "Put dry straw under it and close the door.",
        "sol2": "Put dry ice under it and close the door.",
        "label": i % 2,
    }


def _copa(i: int) -> dict:
    return {
        "premise": f"The {_ANIMALS[i % 8]} ran to {_PLACES[i % 5]}.",
        "choice1": "It heard a dog.",
        "choice2": "It read a book.",
        "question": ("cause", "effect")[i % 2],
        "label": i % 2,
    }


def world_fact(i: int) -> dict:
    return {
        "question": f"Name the emblem of place number {i}.",
        "choices": [_ANIMALS[(i + k) % 8] for k in range(4)],
        "answer": i % 4,
        "topic": f"Places/{i}",
    }


SUITE = {
    "arc_challenge_test": _arc,
    "arc_easy_test": _arc,
    "hellaswag_validation": _hellaswag,
    "boolq_validation": _boolq,
    "socialiqa_validation": _social_iqa,
    "winogrande_xl_validation": _winogrande,
    "piqa_validation": _piqa,
    "copa_validation": _copa,
    "world_facts": world_fact,
}


def write_suite(directory: Path, questions: int = 12) -> Path:
    """Files of all tasks, under the names that the field gives them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in SUITE.items():
        lines = (json.dumps(make(i)) + "\n" for i in range(questions))
        (directory / f"{name}.jsonl").write_text("".join(lines))
    return directory
