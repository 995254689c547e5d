"""Prepares a SentencePiece tokenizer for `transformers`, so that it gives the same tokens there.

`transformers` treats the `tokenizer.model` of a Llama as BPE with a space before the text; ours are
unigram models without one. So a `tokenizer.json` with the same pieces and scores goes beside it.
"""

import json
import shutil
from pathlib import Path

from synthdiv.data.tokenizer import CONFIG_FILE, HF_FILE, SENTENCEPIECE_FILE, load_tokenizer
from synthdiv.files import read_json, write_json

_SPACE = "\u2581"  # how SentencePiece writes a space
_PROBES = ("Why is it so?\nAnswer:", " because", "  two  spaces\n\n", "naïve 東京 😀\t1234", "")


def for_transformers(directory: Path, output: Path) -> Path:
    """Copies a tokenizer's files, with a `tokenizer.json` where only `tokenizer.model` is there.

    It is left out where it would give other tokens, as for a SentencePiece model that is not a
    unigram model or normalizes text. Where two segmentations are equally likely (long runs of one
    character), it may choose the other one.

    Args:
        directory: with `tokenizer.json` or `tokenizer.model`.
        output: an empty directory; it is returned.
    """
    for file in sorted(path for path in directory.iterdir() if path.is_file()):
        shutil.copyfile(file, output / file.name)
    if (output / HF_FILE).exists() or not (output / SENTENCEPIECE_FILE).exists():
        return output
    (output / HF_FILE).write_text(_as_json(output / SENTENCEPIECE_FILE), encoding="utf-8")
    wanted = load_tokenizer(output / SENTENCEPIECE_FILE).encode_batch(_PROBES)
    if load_tokenizer(output / HF_FILE).encode_batch(_PROBES) == wanted:
        settings = read_json(output / CONFIG_FILE) if (output / CONFIG_FILE).exists() else {}
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_json(output / CONFIG_FILE, settings)
    else:
        (output / HF_FILE).unlink()
    return output


def _as_json(path: Path) -> str:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    spaces = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": i, "content": piece, "special": True} | plain
                for i, piece in enumerate(pieces)
                if model.is_control(i)
            ],
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
            "pre_tokenizer": None,
            "post_processor": None,
            "decoder": {
                "type": "Sequence",
                "decoders": [spaces, {"type": "ByteFallback"}, {"type": "Fuse"}],
            },
            "model": {
                "type": "Unigram",
                "unk_id": model.unk_id(),
                "vocab": [[piece, model.get_score(i)] for i, piece in enumerate(pieces)],
                "byte_fallback": True,
            },
        }
    )
