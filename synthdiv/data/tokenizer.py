"""Tokenizers, trained or loaded: Hugging Face `tokenizers` JSON and SentencePiece, one interface.

Encoding a document neither adds nor reads special tokens: text that spells `<|endoftext|>` becomes
ordinary tokens, so that a document cannot end itself. Only `eot_id` ends a document. What a chat
template writes is encoded by `encode_marked`, which does read them.
"""

import abc
import dataclasses
import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from synthdiv import hub
from synthdiv.claims import differences
from synthdiv.config import PathName, settle
from synthdiv.data.special_tokens import runs
from synthdiv.errors import UserError
from synthdiv.files import Corpus, atomic_path, output_dir, read_json, write_json

EOT = "<|endoftext|>"  # of the tokenizers that we train, and of GPT-2, CodeGen and GPT-NeoX
# End-of-text tokens of well-known tokenizers, for files that come without a configuration.
_EOT_NAMES = (EOT, "</s>", "<|end_of_text|>", "<eos>", "<|eot|>", "<|im_end|>")
HF_FILE = "tokenizer.json"
SENTENCEPIECE_FILE = "tokenizer.model"
CONFIG_FILE = "tokenizer_config.json"
_TRAINING_FILE = "training.json"
TOKENIZER_KINDS = ("bpe", "sentencepiece")
# Beginnings of the names of a model's files that belong to its tokenizer.
_FILES = ("tokenizer", "special_tokens", "added_tokens", "chat_template", "vocab", "merges")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Which tokenizer: one on disk, or one trained on the corpora at hand. Gin name `Tokenizer`.

    Attributes:
        path: see `load_tokenizer`; None trains one.
        kind: of the one trained: "bpe" (byte-level BPE, as GPT-2's) or "sentencepiece" (unigram).
        vocab_size: of the one trained, end-of-text included.
        max_bytes: how much text training reads.
    """

    path: PathName | None = None
    kind: str = "bpe"
    vocab_size: int = 32_768
    max_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        settle(self)


class Tokenizer(Protocol):
    """Text to token ids and back."""

    vocab_size: int  # ids are below this; the model may pad its embedding further
    eot_id: int  # ends every document and begins every segment
    eot_token: str
    bos_token: str  # what its tokenizer_config.json says begins a text; "" where it says nothing
    bos_id: int  # what its tokenizer_config.json says begins a text, else `eot_id`
    begins: tuple[int, ...]  # what `transformers` puts before every text, by its file; we do not
    sha256: str  # of the tokenizer's file: equal hash, equal tokens
    specials: Mapping[str, int]  # tokens that stand for no text, and their ids
    cuttable: bool  # encoding "ab" and " cd" apart gives the tokens of "ab cd"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each text; no special tokens."""

    def encode_marked(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of texts in which special tokens are spelled out."""

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns (tokens int32 [sum of n], n int64 [len(texts)]); faster for many texts."""

    def decode(self, tokens: Iterable[int]) -> str:
        """Returns the text of token ids, without end-of-text."""

    def save(self, directory: str | Path) -> Path:
        """Writes the tokenizer so that `load_tokenizer(directory)` gives it back."""


class _Base(abc.ABC):
    file: bytes
    eot_id: int
    eot_token: str
    bos_token: str = ""
    bos_id: int
    begins: tuple[int, ...] = ()
    specials: Mapping[str, int]
    _file_name: str
    _hf_class: str

    @abc.abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...

    def encode_marked(self, texts: Sequence[str]) -> list[list[int]]:
        cut = [runs(text, self.specials) for text in texts]
        plain = iter(self.encode_batch([r for rs in cut for r in rs if isinstance(r, str)]))
        return [
            [i for r in rs for i in (next(plain) if isinstance(r, str) else (r,))] for rs in cut
        ]

    def _describe(self) -> None:
        self.sha256 = hashlib.sha256(self.file).hexdigest()
        apart = [i for ids in self.encode_batch(["Ab", " cd", "\n\n", "E f"]) for i in ids]
        self.cuttable = self.encode_batch(["Ab cd\n\nE f"])[0] == apart

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        ids = self.encode_batch(texts)
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
        return flat, lengths

    def save(self, directory: str | Path) -> Path:
        directory = output_dir(directory)
        with atomic_path(directory / self._file_name) as temporary:
            temporary.write_bytes(self.file)
        write_json(
            directory / CONFIG_FILE,
            {
                "tokenizer_class": self._hf_class,
                "bos_token": self.eot_token,
                "eos_token": self.eot_token,
                "clean_up_tokenization_spaces": False,
            },
        )
        return directory


class _HuggingFace(_Base):
    _file_name, _hf_class = HF_FILE, "PreTrainedTokenizerFast"

    def __init__(
        self, file: bytes, eot_token: str | None, where: str, bos_token: str | None = None
    ) -> None:
        import tokenizers

        self.file = file
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(file)
        except Exception as error:
            raise UserError(f"{where} is not a tokenizer.json: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        names = (eot_token,) if eot_token else _EOT_NAMES
        found = [n for n in names if self._tokenizer.token_to_id(n) is not None]
        if not found:
            raise UserError(
                f"{where} has no end-of-text token; looked for {', '.join(map(repr, names))}. "
                f'Name it in {CONFIG_FILE} beside it: {{"eos_token": "..."}}'
            )
        self.eot_token = found[0]
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        self.eot_id = ids[self.eot_token]
        self.bos_token = bos_token if bos_token in ids else ""
        self.bos_id = ids.get(self.bos_token, self.eot_id)
        known = {t.content: t for t in self._tokenizer.get_added_tokens_decoder().values()}
        self.specials = {name: ids[name] for name, token in known.items() if token.special}
        self.specials |= {self.eot_token: self.eot_id}
        self.specials |= {self.bos_token: self.bos_id} if self.bos_token else {}
        # Another one, for templates: it reads special tokens, where the first spells them out.
        self._reading = tokenizers.Tokenizer.from_buffer(file)
        self._reading.no_truncation()
        self._reading.no_padding()
        self._reading.add_special_tokens(sorted(set(self.specials) - set(known)))
        bare, dressed = (
            self._tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True)
        )
        if dressed != bare:
            places = range(len(dressed) - len(bare) + 1)
            at = next(i for i in places if dressed[i : i + len(bare)] == bare)
            self.begins = tuple(dressed[:at])
            # What we save adds nothing either: models trained here never see those tokens.
            self.file = json.dumps(json.loads(file) | {"post_processor": None}).encode()
        self.vocab_size = max(ids.values()) + 1
        self._describe()

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [e.ids for e in encoded]

    def encode_marked(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._reading.encode_batch_fast(list(texts), add_special_tokens=False)
        return [e.ids for e in encoded]

    def decode(self, tokens: Iterable[int]) -> str:
        return self._tokenizer.decode(
            [int(t) for t in tokens if t != self.eot_id], skip_special_tokens=False
        )


class _SentencePiece(_Base):
    _file_name, _hf_class = SENTENCEPIECE_FILE, "LlamaTokenizer"

    def __init__(self, file: bytes, where: str) -> None:
        try:
            import sentencepiece
        except ImportError:
            raise UserError(f"{where} needs sentencepiece: pip install sentencepiece") from None
        self.file = file
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=file)
        except RuntimeError as error:
            raise UserError(f"{where} is not a SentencePiece model: {error}") from None
        self.eot_id = self._model.eos_id()
        if self.eot_id < 0:
            raise UserError(f"{where} has no end-of-sentence id, which ends documents here")
        self.eot_token = self._model.id_to_piece(self.eot_id)
        self.bos_id = self.eot_id
        pieces = range(self._model.get_piece_size())
        self.specials = {self._model.id_to_piece(i): i for i in pieces if self._model.is_control(i)}
        self.vocab_size = self._model.get_piece_size()
        self._threads = int(os.environ.get("RAYON_NUM_THREADS", 0)) or os.cpu_count() or 1
        try:
            self._model.encode(["a"], return_type="numpy")
            self._gives_arrays = True
        except (TypeError, ValueError):  # SentencePiece before 0.2.2
            self._gives_arrays = False
        self._describe()

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return self._model.encode(list(texts), out_type=int, num_threads=self._threads)

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if not (self._gives_arrays and texts):
            return super().encode_flat(texts)
        arrays = self._model.encode(list(texts), return_type="numpy", num_threads=self._threads)
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        return np.concatenate(arrays).astype(np.int32, copy=False), lengths

    def decode(self, tokens: Iterable[int]) -> str:
        return self._model.decode([int(t) for t in tokens if t != self.eot_id])


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Loads a tokenizer.

    Args:
        path: a Hugging Face `tokenizer.json`, a SentencePiece `.model`, a directory that holds
            `tokenizer.json` or `tokenizer.model`, itself or in `tokenizer/` (a directory of tokens,
            a checkpoint), or a name on the Hugging Face hub.

    Raises:
        UserError: nothing there, not a tokenizer, or no end-of-text token known.
    """
    path = hub.find_tokenizer(path)
    if path.is_dir():
        names = [HF_FILE, SENTENCEPIECE_FILE, f"tokenizer/{HF_FILE}"]
        names.append(f"tokenizer/{SENTENCEPIECE_FILE}")
        found = next((path / n for n in names if (path / n).exists()), None)
        if found is None:
            raise UserError(f"no {HF_FILE} or {SENTENCEPIECE_FILE} in {str(path)!r}")
        path = found
    if not path.is_file():
        raise UserError(f"no tokenizer {str(path)!r}")
    file = path.read_bytes()
    if path.suffix == ".model":
        return _SentencePiece(file, str(path))
    return _HuggingFace(file, _named(path, "eos_token"), str(path), _named(path, "bos_token"))


def tokenizer_files(directory: Path) -> list[Path]:
    """Returns a tokenizer's files in a directory that may hold a whole Hugging Face model."""
    return sorted(p for p in directory.iterdir() if p.is_file() and p.name.startswith(_FILES))


def _named(path: Path, role: str) -> str | None:
    """The token that a Hugging Face directory's tokenizer_config.json names for a role."""
    beside = path.parent / CONFIG_FILE
    if not beside.exists():
        return None
    settings = read_json(beside)
    if not isinstance(settings, dict):
        raise UserError(f"{beside} is not a JSON object")
    token: Any = settings.get(role)
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def train_tokenizer(
    corpora: Sequence[Corpus],
    output: str | Path,
    vocab_size: int = 32_768,
    kind: str = "bpe",
    max_bytes: int = 1_000_000_000,
) -> Tokenizer:
    """Trains a tokenizer and saves it, unless one of the same corpora and settings is there.

    Args:
        corpora: read one after the other, an equal share of `max_bytes` from each.
        output: directory for it.
        vocab_size: number of ids, end-of-text included; a small corpus may give fewer.
        kind: "bpe" is byte-level BPE with GPT-2's splitting; "sentencepiece" is a SentencePiece
            unigram model without normalization and with bytes for rare characters. Both are
            lossless.
        max_bytes: how much text is read.

    Raises:
        UserError: an unknown kind, a vocabulary that cannot hold the 256 bytes, or a tokenizer
            of other corpora or settings in `output`.
    """
    if kind not in TOKENIZER_KINDS:
        raise UserError(f"no tokenizer kind {kind!r}; known: {', '.join(TOKENIZER_KINDS)}")
    if vocab_size < 260:
        raise UserError(f"a vocabulary of {vocab_size} cannot hold the 256 bytes; take 260 or more")
    output = output_dir(output)
    training = {
        "kind": kind,
        "vocab_size": vocab_size,
        "max_bytes": max_bytes,
        "corpora": [[corpus.fingerprint, corpus.text_column] for corpus in corpora],
        "corpora_bytes": [corpus.bytes_sha256 for corpus in corpora],
    }
    told = output / _TRAINING_FILE
    made = [n for n in (HF_FILE, SENTENCEPIECE_FILE) if (output / n).exists()]
    if made and not (told.exists() and not differences(read_json(told), training)):
        other = f"{str(output)!r} has a tokenizer of other corpora or settings"
        raise UserError(f"{other}: remove it or choose another `output`")
    if made:
        return load_tokenizer(output)
    texts = _texts(corpora, max_bytes)
    file = _train_bpe(texts, vocab_size) if kind == "bpe" else _train_unigram(texts, vocab_size)
    where = str(output)
    if kind == "bpe":
        tokenizer: Tokenizer = _HuggingFace(file, EOT, where)
    else:
        tokenizer = _SentencePiece(file, where)
    write_json(told, training)
    tokenizer.save(output)
    return tokenizer


def _texts(corpora: Sequence[Corpus], max_bytes: int) -> Iterator[str]:
    for corpus in corpora:
        left = max_bytes // len(corpora)
        for document in corpus:
            if left <= 0:
                break
            text = document.text.encode("utf-8", "replace").decode()
            left -= len(text)
            yield text


def _train_bpe(texts: Iterator[str], vocab_size: int) -> bytes:
    from tokenizers import Tokenizer as HFTokenizer
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = HFTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str().encode("utf-8")


def _train_unigram(texts: Iterator[str], vocab_size: int) -> bytes:
    try:
        import sentencepiece
    except ImportError:
        raise UserError("kind='sentencepiece' needs it: pip install sentencepiece") from None
    # The trainer takes texts of at most 4192 bytes: give it lines.
    lines = (line[:1000] for text in texts for line in text.splitlines() if line.strip())
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            vocab_size=vocab_size,
            model_type="unigram",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            character_coverage=0.9995,
            hard_vocab_limit=False,
            bos_id=-1,
            eos_id=0,
            unk_id=1,
            eos_piece=EOT,
            num_threads=os.cpu_count() or 1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise UserError(f"SentencePiece cannot train on this: {error}") from None
    return model.getvalue()
