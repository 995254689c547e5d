"""Corpora whose diversity is known: labelled real text, and differences planted in generated text.

A corpus is a list of (label, text). Mixtures are nested: that of 4 classes holds the classes that
the one of 2 has, and all have equally many documents of equally many words. Which classes come
first matters to any judge that sees differences within a class (a mixture of misc.forsale and
rec.sport.hockey is less diverse than misc.forsale alone), so curves are means over orders in which
every class stands at each place equally often.
"""

import gzip
import json
import random
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthdiv.config import find
from synthdiv.diversity import ScoreConfig, cluster_score
from synthdiv.files import Corpus
from synthdiv.generation import GenerateConfig, generate, read_personas
from synthdiv.llm import LLMConfig, Session, open_session

Classes = Mapping[str, Sequence[str]]
Labelled = list[tuple[str, str]]

STYLES = ("textbook", "textbook narrative", "textbook academic", "blog post", "wikihow")


def rows(path: Path) -> list[dict]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def first_words(text: str, words: int) -> str | None:
    """The text up to its `words`th word, lines kept; None if it is shorter."""
    for number, found in enumerate(re.finditer(r"\S+", text), 1):
        if number == words:
            return text[: found.end()]
    return None


def by_class(
    path: Path, column: str = "label", words: int = 0, join: int = 1, without: str = ""
) -> Classes:
    """Texts of each class, in a seeded order.

    Args:
        path: JSONL with `text` and `column`.
        column: of the class.
        words: all texts are cut to so many words, shorter ones left out; 0 leaves them alone.
        join: texts of a class that make one document, where they are a line each.
        without: a class to leave out.
    """
    texts: dict[str, list[str]] = {}
    for row in rows(path):
        if row[column] != without:
            texts.setdefault(row[column], []).append(row["text"])
    for label, found in texts.items():
        random.Random(label).shuffle(found)
        joined = [". ".join(found[i : i + join]) for i in range(0, len(found) - join + 1, join)]
        cut = [first_words(text, words) for text in joined] if words else joined
        texts[label] = [text for text in cut if text is not None]
    return texts


def kinds_of_text(data: Path, words: int = 100) -> Classes:
    """Nine kinds of real text, which differ in style as much as in subject."""
    places = {
        "web": ("text/c4_sample_300.jsonl.gz", "text"),
        "novels": ("text/classic_books_0.jsonl.gz", "text"),
        "code": ("text/code_files.jsonl.gz", "text"),
        "speeches": ("text/us_presidential_addresses.jsonl.gz", "text"),
        "encyclopedia": ("text/wikipedia_boolq_passages.jsonl.gz", "text"),
        "children's stories": ("synthetic/tinystories.jsonl.gz", "text"),
        "lectures": ("synthetic/library_of_phi_gpt_3p5_turbo_instruct_w_wiki.jsonl.gz", "text"),
        "forum posts": ("labels/newsgroups20.jsonl.gz", "text"),
        "chats": ("personas/synthetic_persona_chat_valid_test.jsonl.gz", "conversation"),
    }
    found = {}
    for kind, (path, column) in places.items():
        cut = [first_words(row[column], words) for row in rows(data / path)]
        texts = [text for text in cut if text is not None]
        found[kind] = random.Random(kind).sample(texts, min(len(texts), 150))
    return found


def generated(folder: Path, topics: int, texts: int, style: str, persona: str = "") -> list[str]:
    """What the offline writer writes on `topics` topics, topics in turn."""
    prompts = folder / "prompts"
    if not prompts.exists():
        shutil.copytree(find("prompts/generation"), prompts)
        plain = json.dumps({"style": "textbook", "instruction": "Write a textbook."})
        with (prompts / "styles.jsonl").open("a", encoding="utf-8") as file:
            file.write(plain + "\n")
    told = folder / "personas.jsonl"
    told.write_text(json.dumps({"persona": persona}) + "\n", encoding="utf-8")
    config = GenerateConfig(
        family="topic_styles_persona" if persona else "topic_styles",
        topics=topics,
        generations=-(-texts // topics),
        styles=(style,),
        personas=str(told),
        personas_per_prompt=1,
        prompts=str(prompts),
    )
    output = folder / f"{style} {persona}".strip()
    with open_session(LLMConfig(), None) as session:
        generate(find("topics/seeds.jsonl"), output, config, session)
    return [document.text for document in Corpus(output)]


def styles(folder: Path, topics: int = 4, texts: int = 160) -> Classes:
    """The writer's five styles, on equal topics."""
    return {style: generated(folder, topics, texts, style) for style in STYLES}


def personas(folder: Path, count: int = 16, topics: int = 4, texts: int = 160) -> Classes:
    """Texts for so many personas, on equal topics and in one style."""
    known = read_personas(find("topics/personas.json"))
    chosen = [known[place] for place in random.Random(1).sample(range(len(known)), count)]
    return {p: generated(folder, topics, texts, "textbook", p) for p in chosen}


def vocabularies(count: int = 16, texts: int = 160, words: int = 100) -> Classes:
    """Texts that share function words and draw all others from a vocabulary of their class."""
    generator = random.Random(4)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    function = ("the", "of", "and", "to", "in", "a", "is", "that", "it", "was", "for", "on", "are")
    frequency = [1 / rank for rank in range(1, 81)]  # Zipf's
    found = {}
    for number in range(count):
        own = ["".join(generator.choices(syllables, k=3)) for _ in frequency]
        found[f"vocabulary {number}"] = [
            " ".join(
                generator.choice(function)
                if generator.random() < 0.45
                else generator.choices(own, frequency)[0]
                for _ in range(words)
            )
            for _ in range(texts)
        ]
    return found


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [2**n for n in range(most.bit_length())]


def orders(names: Sequence[str], number: int) -> list[list[str]]:
    """Orders of the classes; every `len(names)` of them have each class at each place once."""
    found = []
    for i in range(number):
        turn, shift = divmod(i, len(names))
        permuted = random.Random(turn).sample(sorted(names), len(names))
        found.append(permuted[shift:] + permuted[:shift])
    return found


def mixture(classes: Classes, chosen: Sequence[str], size: int) -> Labelled:
    """Equally many documents of each chosen class, `size` in all; of a class, the first ones."""
    each = max(size // len(chosen), 1)
    return [(name, text) for name in chosen for text in classes[name][:each]]


def copied(texts: Sequence[str], size: int, copies: int, changed: float = 0.0) -> Labelled:
    """`size` documents, each text so many times; copies lack a share `changed` of the words."""
    generator = random.Random(copies)
    found = []
    for number, text in enumerate(texts[: size // copies]):
        found.append((str(number), text))
        for _ in range(copies - 1):
            kept = [word for word in text.split() if generator.random() >= changed]
            found.append((str(number), " ".join(kept)))
    return found


def measured(
    corpus: Labelled, folder: Path, session: Session, rounds: int, seed: int = 0
) -> tuple[float, float]:
    """Scores of the offline judge and of the labels, out of one run of all five steps."""
    path = folder / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for label, text in corpus:
            file.write(json.dumps({"label": label, "text": text}) + "\n")
    config = ScoreConfig(
        rounds=rounds,
        criteria_rounds=10,
        criteria_sets=5,
        control_rounds=0,
        bootstrap=100,
        with_baselines=False,
        labels="label",
        seed=seed,
    )
    found = cluster_score(Corpus(path), config, session)
    return found["score"]["mean"], found["agreement"]["labels"]["perfect_judge"]["mean"]


def curves(
    classes: Classes, counts: Sequence[int], folder: Path, number: int, rounds: int, size: int
) -> np.ndarray:
    """Scores of nested mixtures, `[orders, counts, 2]`: the offline judge's and the labels'."""
    with open_session(LLMConfig(), None) as session:
        return np.array(
            [
                [
                    measured(mixture(classes, order[:count], size), folder, session, rounds, seed)
                    for count in counts
                ]
                for seed, order in enumerate(orders(list(classes), number))
            ]
        )
