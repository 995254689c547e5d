"""Compression ratios: original bytes over compressed bytes, as a stream.

gzip looks back 32 KiB, so it hardly sees that one document repeats another; zstd looks back 128 MiB
by default. Each is a single unbroken stream, whatever the size of the corpus.
"""

import lzma
import zlib
from collections.abc import Iterable
from typing import Protocol

from synthdiv.errors import UserError, closest

ALGORITHMS = ("gzip", "zstd", "xz")


class _Stream(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Compressor:
    """Counts the bytes that go in and come out; `feed` in the order of the corpus.

    Args:
        algorithm: "gzip" (level 9), "zstd" (long-distance matching) or "xz" (preset 6).
        zstd_level: zstd's compression level.
        zstd_window_log: log2 of the bytes zstd looks back on; it needs about that much memory.
    """

    def __init__(
        self, algorithm: str = "gzip", zstd_level: int = 3, zstd_window_log: int = 27
    ) -> None:
        self.original = 0
        self.compressed = 0
        if algorithm == "gzip":
            self._stream: _Stream = zlib.compressobj(9, zlib.DEFLATED, 31)
        elif algorithm == "xz":
            self._stream = lzma.LZMACompressor()
        elif algorithm == "zstd":
            import zstandard

            parameters = zstandard.ZstdCompressionParameters.from_level(
                zstd_level, window_log=zstd_window_log, enable_ldm=True
            )
            self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        else:
            known = ", ".join(ALGORITHMS)
            raise UserError(
                f"no compressor {algorithm!r}; there are {known}{closest(algorithm, ALGORITHMS)}"
            )

    def feed(self, text: bytes) -> None:
        """Compresses the next part of the corpus."""
        self.original += len(text)
        self.compressed += len(self._stream.compress(text))

    def close(self) -> float:
        """Ends the stream and returns the ratio, 0 for an empty corpus."""
        self.compressed += len(self._stream.flush())
        del self._stream  # frees the window
        return self.original / self.compressed if self.original else 0.0


def compression_ratio(texts: Iterable[str], algorithm: str = "gzip", **zstd: int) -> float:
    """Bytes of the documents joined by one space (UTF-8) / bytes after compression.

    Source: Shaib et al. 2024; the paper's Table 1. The `diversity` package compresses its gzip
    file once more and rounds to three digits, which lowers the third digit by at most one.
    Direction: higher = LESS diverse.
    Confounds: language, markup and document length; gzip sees repetition only within 32 KiB (a
    corpus pasted after itself looks no more repetitive), zstd within its window. Short corpora pay
    for the header.
    """
    stream = Compressor(algorithm, **zstd)
    for number, text in enumerate(texts):
        stream.feed((b" " if number else b"") + text.encode("utf-8", "surrogatepass"))
    return stream.close()
