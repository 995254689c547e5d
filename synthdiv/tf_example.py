"""Reads `tf.train.Example` messages, which TFDS datasets are made of, without TensorFlow.

The wire format is that of https://protobuf.dev/programming-guides/encoding; the message is
Example{1: Features{1: map<string, Feature{1: BytesList | 2: FloatList | 3: Int64List}>}}.
"""

import struct
from collections.abc import Iterator
from typing import Any

from synthdiv.errors import UserError


def parse_example(record: bytes) -> dict[str, Any]:
    """Returns the features of one serialized Example.

    A feature of one value is that value, of several a list; bytes that are UTF-8 become text.

    Raises:
        UserError: the record is not an Example.
    """
    features: dict[str, Any] = {}
    try:
        for _, message in _fields(record):
            for _, entry in _fields(message):
                parts = dict(_fields(entry))
                features[parts[1].decode()] = _value(parts.get(2, b""))
    except (IndexError, KeyError, TypeError, ValueError, struct.error):
        raise UserError("a record is not a tf.train.Example") from None
    return features


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yields (field number, value): an int for a varint, bytes for what is length-delimited."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
        elif wire == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
            if at > len(message):
                raise ValueError("truncated")
        elif wire == 5:
            value, at = message[at : at + 4], at + 4
        else:
            raise ValueError(f"wire type {wire}")
        yield number, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _value(feature: bytes) -> Any:
    values: list[Any] = []
    for kind, content in _fields(feature):
        for _, value in _fields(content):
            if kind == 1:
                values.append(_text(value))
            elif kind == 2:
                values.extend(struct.unpack(f"<{len(value) // 4}f", value))
            else:
                values.extend(_signed(v) for v in _packed(value))
    return values[0] if len(values) == 1 else values


def _packed(value: int | bytes) -> Iterator[int]:
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
