"""Text and JSON lines, from outside compressed or not: every fault names its file and line.

Lines end at a line feed alone, as JSON lines do: U+2028 and its kind may stand inside a text.
"""

import bz2
import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from synthdiv.errors import UserError

V = TypeVar("V")


def open_bytes(path: str | Path) -> BinaryIO:
    """Opens a file to read, through gzip, zstd or bzip2 where its name says so.

    Reading raises what `READ_FAULTS` names, of a compressed file that was cut short too.
    """
    path = Path(path)
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".bz2":
        return cast(BinaryIO, bz2.open(path, "rb"))
    if path.suffix == ".zst":
        # zstandard's own reader ends in silence where a file was cut short; this one does not.
        import pyarrow as pa

        return cast(BinaryIO, io.BufferedReader(pa.input_stream(path, compression="zstd"), 1 << 17))
    return open(path, "rb")


READ_FAULTS = (EOFError, OSError, zlib.error)


def text_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yields the lines of a UTF-8 text file with their numbers, from 1; also `.gz` and `.zst`.

    Raises:
        UserError: the file cannot be opened or read to its end, or a line is not UTF-8.
    """
    number = 0
    try:
        with open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        utf16 = number == 1 and error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        reason = "it is UTF-16; save it as UTF-8" if utf16 else error.reason
        raise UserError(f"{path} line {number} is not UTF-8 text: {reason}") from None
    except FileNotFoundError:
        raise UserError(f"no file {str(path)!r}") from None
    except READ_FAULTS as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else error
        after = f" after line {number}" if number else ""
        raise UserError(f"{path} cannot be read{after}: {words}") from None


def json_lines(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the objects of a JSON lines file, or of a file that is one JSON array of objects.

    Args:
        path: the file; also `.gz` and `.zst`.

    Yields:
        the number of the line, from 1 (in an array, of the element), and the object.

    Raises:
        UserError: as `text_lines`; a line is not JSON, or not an object.
    """
    lines = text_lines(path)
    for number, line in lines:
        if number == 1 and line.lstrip().startswith("["):
            array = parse_json(line + "".join(rest for _, rest in lines), path)
            for element, row in enumerate(array, 1):
                yield element, _object(row, f"{path} element {element}")
        elif line.strip():
            yield number, _object(parse_json(line, path, number), f"{path} line {number}")


def as_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns objects as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def parse_json(text: str, path: str | Path, line: int = 1) -> Any:
    """Parses JSON that begins at a line of a file.

    Raises:
        UserError: it is not JSON, nested too deep, or holds a number of absurd length.
    """
    ends = text.endswith("\n")
    text = text.rstrip()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at_end = error.pos > 0 and not ends and error.lineno == text.count("\n") + 1
        cut = " (the file's last line looks truncated)" if at_end else ""
        # What ends with a line feed goes wrong in its last line, not in the one after it.
        fault = min(error.lineno, text.removesuffix("\n").count("\n") + 1)
        place = f"{path} line {line + fault - 1}"
        raise UserError(f"{place} is not JSON: {error.msg}{cut}") from None
    except RecursionError:
        raise UserError(f"{path} line {line} is nested too deep") from None
    except ValueError:  # Python refuses to read thousands of digits
        raise UserError(f"{path} line {line} holds a number of too many digits") from None


def encodable(value: V) -> V:
    """Returns JSON with half surrogate pairs, which UTF-8 cannot hold, as question marks.

    JSON may escape one half alone; whatever it comes to then fails where it is written.
    """
    clean: Any = value
    if isinstance(value, str):
        clean = value.encode("utf-8", "replace").decode("utf-8")
    elif isinstance(value, list):
        clean = [encodable(part) for part in value]
    elif isinstance(value, dict):
        clean = {encodable(name): encodable(part) for name, part in value.items()}
    return cast(V, clean)


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where} is not a JSON object")
    return row
