"""What the stages of a study do: each makes one part of the study's directory out of others."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from synthdiv import files
from synthdiv.data import MixtureConfig
from synthdiv.errors import Paused, UserError
from synthdiv.llm import LLMConfig
from synthdiv.llm.money import PICO
from synthdiv.study.config import STDLIB, WORLD, Cell, Plan, Run


class Work:
    """The work of one study in its directory.

    Args:
        plan: the study.
        workdir: its directory.
    """

    def __init__(self, plan: Plan, workdir: Path) -> None:
        self.plan = plan
        self.workdir = workdir
        self.shared = workdir / "shared"

    def corpus(self, cell: Cell) -> files.Corpus:
        """The cell's corpus: the one named, or the one generated."""
        if cell.config.corpus:
            return cell.config.open(cell.config.corpus)
        return files.Corpus(self.workdir / cell.name / "corpus")

    def real_text(self) -> None:
        """Python's own documentation, the part that is read and the part that is held out."""
        self.real(STDLIB)
        self.heldout(STDLIB)

    def real(self, name: str) -> files.Corpus:
        """One of the corpora of real text."""
        from synthdiv.data import stdlib_corpus

        return files.Corpus(
            stdlib_corpus(self.shared / "real" / "stdlib") if name == STDLIB else name
        )

    def heldout(self, name: str) -> files.Corpus:
        """One of the corpora for bits per byte."""
        from synthdiv.data import stdlib_corpus

        where = self.shared / "real" / "stdlib_heldout"
        return files.Corpus(stdlib_corpus(where, heldout=True) if name == STDLIB else name)

    def generate(self, cell: Cell) -> None:
        """The cell's corpus, out of topics or of real documents."""
        from synthdiv.generation import generate
        from synthdiv.llm import open_session

        output = files.output_dir(self.workdir / cell.name / "corpus")
        store = output / "answers.sqlite"
        path = cell.config.sources
        sources = None
        if path:
            sources = self.real(STDLIB) if path == STDLIB else cell.config.open(path)
        with contextlib.ExitStack() as stack, self._one_cap(cell.writers[0], store) as left:
            sessions = [
                stack.enter_context(open_session(left(writer), store)) for writer in cell.writers
            ]
            generate(self.plan.topics, output, cell.generate, sessions, sources)

    def cut(self, cell: Cell) -> None:
        """The cell's corpus, out of Python's own documentation."""
        from synthdiv.data import stdlib_pages

        output, config = self.workdir / cell.name / "corpus", cell.config
        seed = f"{cell.name} {self.plan.config.seed}"
        stdlib_pages(output, config.packages, config.pages, seed)

    def score(self, cell: Cell) -> None:
        """The cell's score and its baselines."""
        from synthdiv.diversity import cluster_score
        from synthdiv.llm import open_session

        output = files.output_dir(self.workdir / cell.name / "score")
        store, judge = output / "answers.sqlite", self.plan.judge
        with self._one_cap(judge, store) as left, open_session(left(judge), store) as session:
            cluster_score(self.corpus(cell), self.plan.score, session, output)

    @contextlib.contextmanager
    def _one_cap(
        self, config: LLMConfig, store: Path
    ) -> Iterator[Callable[[LLMConfig], LLMConfig]]:
        """Yields the terms of one stage by those of the study: its caps, less what others took.

        Raises:
            Paused: the stage's pause as one of the whole study, whose caps are told.
        """
        elsewhere = self._elsewhere(store)

        def left(terms: LLMConfig) -> LLMConfig:
            caps = {name: getattr(terms, name) for name in elsewhere}
            rest = {n: max(cap - elsewhere[n], 0) for n, cap in caps.items() if cap is not None}
            return dataclasses.replace(terms, **rest)

        try:
            yield left
        except Paused as pause:
            if not pause.flags:
                raise
            flags = {name: value + elsewhere[name] for name, value in pause.flags.items()}
            told = " and ".join(f"`{name}={getattr(config, name):g}`" for name in flags)
            raise Paused(f"{pause} (the study's cap is {told})", flags) from None

    def _elsewhere(self, store: Path) -> dict[str, float]:
        """What all other stages of the study took, in this run and before, by the cap's name."""
        from synthdiv.llm.spending import spent_in

        others = [path for path in self.workdir.glob("*/*/answers.sqlite") if path != store]
        totals = [spent_in(path) for path in others]
        pico = sum(one.spent + one.lost + one.reserved for one in totals)
        calls = sum(one.calls + one.claimed for one in totals)
        return {"max_cost_usd": pico / PICO, "max_calls": calls}

    def instructions(self) -> None:
        """Conversations made of Python's own documentation."""
        from synthdiv.data import stdlib_instructions

        config = self.plan.config
        files.output_dir(self.shared)
        stdlib_instructions(self.instructions_file, config.max_instructions, config.seed)

    @property
    def instructions_file(self) -> Path:
        """Where the conversations are."""
        name = self.plan.config.instructions
        return self.shared / "instructions.jsonl" if name == STDLIB else Path(name)

    def questions(self) -> None:
        """Questions about the world's facts, over topics of which each cell has seen its share."""
        from synthdiv.generation import choose_topics, read_topics
        from synthdiv.offline.world import World

        config = self.plan.config
        topics = choose_topics(read_topics(self.plan.topics), config.question_topics, config.seed)
        questions = World().questions(
            [topic.path for topic in topics], config.seed, config.questions_per_topic
        )
        directory = files.output_dir(self.shared / "questions")
        lines = (json.dumps(q, ensure_ascii=False) + "\n" for q in questions)
        files.write_text(directory / f"{WORLD}.jsonl", "".join(lines))

    def tokenizer(self) -> None:
        """The one tokenizer of the study."""
        from synthdiv.data import load_tokenizer, train_tokenizer

        choice, output = self.plan.tokenizer, files.output_dir(self.shared) / "tokenizer"
        if choice.path:
            load_tokenizer(choice.path).save(output)
            return
        cells = {cell.name: cell for cell in self.plan.cells}
        corpora = [
            self.corpus(cells[name]) if name in cells else self.real(name)
            for name in tokenizer_from(self.plan)
        ]
        train_tokenizer(corpora, output, choice.vocab_size, choice.kind, choice.max_bytes)

    def real_tokens(self) -> None:
        """The tokens of the real text."""
        for name in self.plan.config.real:
            corpus = self.real(name)
            self._tokenize(corpus, self.shared / "tokens" / corpus.name)

    def tokens(self, cell: Cell) -> None:
        """The tokens of the cell's corpus."""
        self._tokenize(self.corpus(cell), self.workdir / cell.name / "tokens")

    def _tokenize(self, corpus: files.Corpus, output: Path) -> None:
        from synthdiv.data import load_tokenizer, tokenize_corpus

        tokenizer = load_tokenizer(self.shared / "tokenizer")
        tokenize_corpus(corpus, output, tokenizer, **dataclasses.asdict(self.plan.tokenize))

    def mixture(self, run: Run) -> MixtureConfig:
        """The cell's corpus and the real text, each weighted to its effective tokens (section 3).

        Real corpora share the real tokens as `Study.real_shares` says, or in proportion to their
        sizes.
        """
        sources, names = [], []
        if run.mixture.synthetic_tokens:
            tokens = self.workdir / run.cell.name / "tokens"
            sources.append((str(tokens), float(run.mixture.synthetic_tokens)))
            names.append(run.cell.name)
        if run.mixture.real_tokens:
            corpora = [self.real(name).name for name in self.plan.config.real]
            real = [self.shared / "tokens" / name for name in corpora]
            shares = self.plan.config.real_shares or [manifest_of(one)["tokens"] for one in real]
            for directory, share in zip(real, shares, strict=True):
                amount = run.mixture.real_tokens * share / sum(shares)
                sources.append((str(directory), amount))
                names.append(directory.name)
        return MixtureConfig(tuple(sources), names=tuple(names))

    def pretrain(self, run: Run) -> None:
        """Pre-trains one model."""
        from synthdiv.training import pretrain

        config = dataclasses.replace(run.model.pretrain, mixture=self.mixture(run))
        pretrain(config, self.workdir / run.folder / "pretrain", self.plan.settings)

    def fine_tune(self, run: Run) -> None:
        """Fine-tunes it."""
        from synthdiv.training import sft

        where, given = self.workdir / run.folder, self.instructions_file
        sft(run.model.sft, where / "pretrain", given, where / "sft", self.plan.settings)

    def evaluate(self, run: Run, phase: str) -> None:
        """Evaluates what a phase has made of it."""
        from synthdiv.evaluation import evaluate

        where, config = self.workdir / run.folder, self.plan.config
        evaluate(
            where / phase,
            config.tasks,
            where / f"{phase}.json",
            self.data_dir(),
            self.plan.evaluate,
            corpora=[self.heldout(name) for name in config.heldout],
        )

    def data_dir(self) -> Path | None:
        """Where the files of the tasks are; None leaves them to the hub."""
        if self.plan.config.data_dir:
            return Path(self.plan.config.data_dir)
        return self.shared / "questions" if self.plan.config.asks_the_world else None


def tokenizer_from(plan: Plan) -> tuple[str, ...]:
    """The real corpora and cells that a tokenizer is trained on."""
    every = (*plan.config.real, *(cell.name for cell in plan.cells))
    return plan.config.tokenizer_from or every


def manifest_of(tokens: Path) -> dict[str, Any]:
    """The manifest of tokens that a stage has made.

    Raises:
        UserError: it is gone.
    """
    manifest = files.read_manifest(tokens)
    if manifest is None:
        raise UserError(
            f"{str(tokens)!r} has lost its manifest.json: remove the study and run it again"
        )
    return manifest
