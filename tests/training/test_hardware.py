"""The table of devices: ours, a user's own beside it, and what is refused."""

import json

import pytest

from synthdiv.errors import UserError
from synthdiv.training.hardware import device_named, devices, of_kind


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("h100", "H100"),
        ("H100 PCIe", "H100 PCIe"),
        ("a100", "A100"),
        ("a100_40gb", "A100 40GB"),
        ("v5e", "TPU v5e"),
        ("v5p", "TPU v5p"),
        ("tpu v6e", "TPU v6e"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("TPU v5 lite", "TPU v5e"),
    ],
)
def test_a_device_is_known_by_what_users_and_jax_call_it(said: str, name: str) -> None:
    assert device_named(said).name == name


def test_every_row_says_where_it_comes_from() -> None:
    for device in devices().values():
        assert device.source, device.name
        assert device.usd_per_hour is None or device.price_source, device.name
        assert device.bf16_flops > 1e14 and device.memory > 1e10, device.name


def test_a_users_table_adds_to_ours_and_changes_it(tmp_path) -> None:
    table = tmp_path / "mine.json"
    mine = {"H100": {"usd_per_hour": 1.5}, "Ours": {"bf16_flops": 1e15, "memory": 1e11}}
    table.write_text(json.dumps({"devices": mine}))
    assert device_named("h100", table).usd_per_hour == 1.5
    assert device_named("h100", table).memory == device_named("h100").memory
    assert device_named("ours", table).usd_per_hour is None
    assert of_kind("ours") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "needs an object 'devices'"),
        ({"devices": {"X": 3}}, "'X' is no object"),
        ({"devices": {"X": {"memory": 1e9}}}, "'X' lacks bf16_flops"),
        ({"devices": {"H100": {"price": 1}}}, "'price', which is not known"),
        ({"devices": {"H100": {"usd_per_hour": "1"}}}, "usd_per_hour of 'H100' is '1'"),
        ({"devices": {"H100": {"memory": -1}}}, "memory of 'H100' is -1"),
        ({"devices": {"H100": {"linked": None}}}, "linked of 'H100' is None"),
        ({"devices": {"H100": {"names": "H"}}}, "names of 'H100' is 'H', no list"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, content, words: str) -> None:
    table = tmp_path / "mine.json"
    table.write_text(json.dumps(content))
    with pytest.raises(UserError, match=words) as told:
        devices(table)
    assert "\n" not in str(told.value)
