"""Counts the tokens of documents, for benchmarks that pack documents of real lengths.

    python benchmarks/document_lengths.py --tokenizer=TOKENIZER.json web=FILE[,FILE] code=FILE \\
        > benchmarks/document_lengths.json

Takes each kind's first 300 texts of JSONL files. Prints JSON: kind -> lengths, in ascending order.
"""

import argparse
import gzip
import itertools
import json
from pathlib import Path

MOST = 300


def texts(files: str):
    for file in files.split(","):
        data = Path(file).read_bytes()
        lines = (gzip.decompress(data) if file.endswith(".gz") else data).splitlines()
        yield from (json.loads(line)["text"] for line in lines)


def main() -> None:
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokenizer", required=True, help="a Hugging Face tokenizer.json")
    parser.add_argument("kinds", nargs="+", help="KIND=FILE[,FILE]")
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(args.tokenizer)
    found = {}
    for kind, _, files in (word.partition("=") for word in args.kinds):
        encoded = tokenizer.encode_batch(list(itertools.islice(texts(files), MOST)))
        found[kind] = sorted(len(one.ids) for one in encoded)
    lines = (f"  {json.dumps(kind)}: {json.dumps(lengths)}" for kind, lengths in found.items())
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
