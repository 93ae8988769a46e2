"""How many pictures at once: halved when the device is full, and the best size found by trying, once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from models.batch_size import SIZES, Remembered, largest_gaining
from models.encoder import CPU, Encoder, Vector
from models.errors import NoVector, OutOfDeviceMemory
from models.preprocess import Picture
from tests.tiny_models import SIDE, tiny
from workers import devices
from workers.settings import load

FULL = "Failed to allocate memory for requested buffer of size 8388608000"


class Device:
    """A session on a device that holds so many pictures at once."""

    def __init__(self, session: Any, holds: int) -> None:
        self._session = session
        self.holds = holds
        self.runs: list[int] = []

    def run(self, outputs: Sequence[str], feeds: dict[str, np.ndarray]) -> Any:
        (batch,) = feeds.values()
        self.runs.append(len(batch))
        if len(batch) > self.holds:
            raise ort.RuntimeException(FULL)
        return self._session.run(outputs, feeds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def pictures(number: int) -> list[Picture]:
    rng = np.random.default_rng(1)
    arrays = rng.uniform(0.1, 1, (number, 3, SIDE, SIDE)).astype(np.float32)
    return [Picture(array, SIDE, SIDE) for array in arrays]


def on_device(folder: Path, holds: int, *, batch: int | str = "n", most: int | None = None) -> tuple[Encoder, Device]:
    encoder = Encoder(*tiny(folder, batch=batch))
    device = Device(encoder._session, holds)
    encoder._session, encoder._most = device, most
    return encoder, device


def same(one: Sequence[Vector | NoVector], other: Sequence[Vector | NoVector]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_full_device_gets_half_and_keeps_to_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = pictures(50)
    encoder, device = on_device(tmp_path, holds=13)

    with caplog.at_level(logging.WARNING):
        vectors = encoder.encode(given)

    # Every vector is its picture's, and what fits is remembered
    assert same(vectors, Encoder(*tiny(tmp_path)).encode(given))
    assert device.runs == [50, 25, 12, 12, 12, 12, 2]
    assert encoder.fits == 12
    assert "12 from now on" in caplog.messages[-1]
    device.runs.clear()
    encoder.encode(given)
    assert max(device.runs) == 12


def test_one_picture_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    encoder, _ = on_device(tmp_path, holds=0)
    with pytest.raises(OutOfDeviceMemory):
        encoder.encode(pictures(4))


def test_a_model_of_one_size_cannot_be_halved(tmp_path: Path) -> None:
    encoder, device = on_device(tmp_path, holds=3, batch=4)
    with pytest.raises(OutOfDeviceMemory):
        encoder.encode(pictures(4))
    assert device.runs == [4]


def test_an_accelerator_sees_few_sizes(tmp_path: Path) -> None:
    encoder, device = on_device(tmp_path, holds=1000, most=24)
    given = pictures(24)
    for number in range(1, 25):
        assert same(encoder.encode(given[:number]), Encoder(*tiny(tmp_path)).encode(given[:number]))
    assert sorted(set(device.runs)) == [1, 2, 4, 8, 16, 24]


class Speeds:
    """Seconds of a run by the pictures in it."""

    def __init__(self, per_second: dict[int, float]) -> None:
        self._per_second = per_second
        self.tried: list[int] = []

    def __call__(self, size: int) -> float:
        self.tried.append(size)
        if size not in self._per_second:
            raise OutOfDeviceMemory(FULL)
        return size / self._per_second[size]


def test_the_largest_size_that_still_gains_is_taken() -> None:
    speeds = Speeds({8: 100, 16: 190, 32: 300, 64: 310, 128: 1000})
    assert largest_gaining(speeds) == 32
    assert 128 not in speeds.tried


def test_the_largest_size_that_fits_is_taken() -> None:
    assert largest_gaining(Speeds({8: 100, 16: 200})) == 16
    assert largest_gaining(Speeds({size: size for size in SIZES})) == SIZES[-1]
    with pytest.raises(OutOfDeviceMemory):
        largest_gaining(Speeds({}))


def test_a_size_is_measured_once_for_a_model_and_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, _ = on_device(tmp_path, holds=70)
    remembered = Remembered(tmp_path / "state" / "sizes.json")
    settings = load(micro_batch="auto")
    monkeypatch.setattr(encoder, "time", Speeds({8: 100, 16: 200, 32: 400, 64: 401}))

    assert devices.micro_batch(encoder, settings, remembered) == 32
    monkeypatch.setattr(encoder, "time", Speeds({}))
    assert devices.micro_batch(encoder, settings, remembered) == 32, "measured again"

    with pytest.raises(OutOfDeviceMemory):  # other threads, other speed: that is measured anew
        devices.micro_batch(encoder, load(micro_batch="auto", threads=2), remembered)


def test_a_blank_run_is_timed(tmp_path: Path) -> None:
    encoder, device = on_device(tmp_path, holds=8)
    assert encoder.time(8) > 0
    with pytest.raises(OutOfDeviceMemory):
        encoder.time(9)
    assert device.runs == [8, 9]


def test_what_is_written_badly_is_as_good_as_nothing(tmp_path: Path) -> None:
    file = tmp_path / "sizes.json"
    remembered = Remembered(file)
    for text in ("{", "[1]", '{"a": "x"}', '{"a": -1}', "\xff"):
        file.write_text(text)
        assert remembered.get("a") is None
    remembered.put("a", 32)
    remembered.put("b", 64)
    assert (remembered.get("a"), remembered.get("b")) == (32, 64)
    Remembered(Path("/proc/nowhere/sizes.json")).put("a", 1)


@pytest.mark.parametrize(
    ("provider", "asked", "size"),
    [(CPU, None, 16), (CPU, 7, 7), ("TensorrtExecutionProvider", "auto", 32), ("OpenVINOExecutionProvider", None, 32)],
)
def test_nobody_measures_where_it_would_not_pay(
    tmp_path: Path, provider: str, asked: int | str | None, size: int
) -> None:
    encoder, device = on_device(tmp_path, holds=1000)
    encoder.provider = provider
    assert devices.micro_batch(encoder, load(micro_batch=asked), Remembered(tmp_path / "sizes.json")) == size
    assert not device.runs
