"""What a pool process takes of its machine."""

from __future__ import annotations

import pytest

from workers import devices
from workers.settings import SettingsError, load


@pytest.mark.parametrize(
    ("visible", "taken"),
    [
        ("0,1,2", ["0", "1", "2", "0", "1"]),
        ("3, GPU-8932f937", ["3", "GPU-8932f937", "3", "GPU-8932f937", "3"]),
        ("5", ["5"] * 5),
        ("", [""] * 5),
    ],
)
def test_pool_processes_take_the_devices_in_turn(visible: str, taken: list[str]) -> None:
    for number, expected in enumerate(taken):
        variables = {devices.VISIBLE: visible}
        devices.take_one(variables, number)
        assert variables == {devices.VISIBLE: expected}


def test_devices_that_nobody_named_are_left_alone() -> None:
    variables: dict[str, str] = {}
    devices.take_one(variables, 3)
    assert variables == {}


def test_a_process_outside_a_pool_is_the_first() -> None:
    assert devices.pool_number() == 0


def test_decode_threads_are_none_on_the_cpu_and_some_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_cores", lambda: 32)
    assert devices.decode_threads(load()) == 0
    assert devices.decode_threads(load(providers="CUDAExecutionProvider")) == 8
    assert devices.decode_threads(load(decode_threads=3)) == 3
    assert devices.decode_threads(load(providers="CUDAExecutionProvider", decode_threads=0)) == 0


@pytest.mark.parametrize(("given", "read"), [("auto", "auto"), ("0", "auto"), ("AUTO", "auto"), ("64", 64), ("", None)])
def test_the_size_of_a_micro_batch_is_a_number_or_auto(
    given: str, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEFLEET_MICRO_BATCH", given)
    assert load().micro_batch == read


@pytest.mark.parametrize("given", ["-1", "1025", "many", "1.5"])
def test_another_size_is_refused_in_one_sentence(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_MICRO_BATCH", given)
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value).count("IMAGEFLEET_MICRO_BATCH") == 1
    assert "1 to 1024, or `auto`" in str(caught.value)
