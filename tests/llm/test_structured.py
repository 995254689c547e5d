"""What a server is told of a schema, and values out of the many ways in which models write JSON."""

import json

import pytest
from pydantic import BaseModel, Field

from synthdiv.llm.structured import is_strict, parse, wire_schema


class Inner(BaseModel):
    name: str
    indices: list[int] = Field(min_length=1)


class Outer(BaseModel):
    """A whole reply."""

    default: str = "word"
    groups: list[Inner]


class FreeForm(BaseModel):
    values: dict[str, int]


GOOD = {"default": "w", "groups": [{"name": "a", "indices": [1, 2]}]}
TEXT = json.dumps(GOOD)


def test_the_schema_is_closed_and_all_of_it_required() -> None:
    schema = wire_schema(Outer)
    assert schema["title"] == "Outer"
    assert schema["required"] == ["default", "groups"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Inner"]["additionalProperties"] is False
    assert schema["properties"]["groups"]["items"] == {"$ref": "#/$defs/Inner"}
    assert "default" not in schema["properties"]["default"]
    assert is_strict(schema)


def test_a_free_form_object_is_not_strict() -> None:
    assert not is_strict(wire_schema(FreeForm))


@pytest.mark.parametrize(
    "reply",
    [
        TEXT,
        f"  {TEXT}\n",
        f"```json\n{TEXT}\n```",
        f"Here you are:\n```\n{TEXT}\n```\nAnything else?",
        f"Sure! {TEXT} I hope this helps {{really}}.",
        f'<think>Shall I say {{"groups": []}}?</think>{TEXT}',
        f"[note] {TEXT}",
    ],
)
def test_json_is_found_in_what_models_put_around_it(reply: str) -> None:
    value, _, fault = parse(reply, Outer)
    assert fault is None
    assert value == Outer(**GOOD)


@pytest.mark.parametrize(
    "reply",
    [
        TEXT.replace('"', "'"),
        TEXT[:-1],
        TEXT.replace('"w", ', '"w" '),
        TEXT.replace("2]", "2,]"),
        f"[{TEXT}]",
    ],
)
def test_broken_json_is_mended_and_said_to_be(reply: str) -> None:
    value, repaired, fault = parse(reply, Outer)
    assert (value, repaired, fault) == (Outer(**GOOD), True, None)


def test_a_reply_that_was_cut_off_is_not_mended() -> None:
    value, _, fault = parse(TEXT[:-4], Outer, repair=False)
    assert value is None and fault


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("I cannot do that.", "no JSON object"),
        ('{"groups": "none"}', "groups"),
        ('{"groups": [{"name": 3, "indices": []}]}', "groups.0.name"),
        ("[" * 100_000, ""),
        ("{" * 5_000 + '"a":' * 5_000, ""),
    ],
)
def test_faults_are_named_in_words(reply: str, words: str) -> None:
    value, _, fault = parse(reply, Outer)
    assert value is None
    assert words in fault
    assert len(fault) < 2000
