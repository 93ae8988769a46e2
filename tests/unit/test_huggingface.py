"""`preprocessor_config.json` in the forms that it is found in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import InvalidSpec
from models.huggingface import FILE, Found, beside, read

HALF = [0.5, 0.5, 0.5]


def found(folder: Path, **keys: Any) -> Found:
    (folder / FILE).write_text(json.dumps(keys), encoding="utf-8")
    return read(folder / FILE)


@pytest.mark.parametrize(
    ("keys", "size", "resized", "interpolation"),
    [
        # CLIP: the shorter side, then the centre; both forms of its sizes
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "do_center_crop": True,
          "resample": 3}, (224, 224), ("shorter", 224), "bicubic"),
        ({"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 336},
          "crop_size": {"height": 336, "width": 336}, "do_center_crop": True}, (336, 336), ("shorter", 336), "bicubic"),
        # ViT and SigLIP: stretched
        ({"image_processor_type": "ViTImageProcessor", "size": 224, "resample": 2},
         (224, 224), ("exact", None), "bilinear"),
        ({"image_processor_type": "SiglipImageProcessor", "size": {"height": 384, "width": 256}},
         (384, 256), ("exact", None), "bicubic"),
        # DeiT: stretched, then the centre
        ({"image_processor_type": "DeiTImageProcessor", "size": {"height": 256, "width": 256}, "resample": 3,
          "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}, (224, 224), ("exact", 256), "bicubic"),
        # DINOv2
        ({"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "resample": 3,
          "crop_size": {"height": 224, "width": 224}}, (224, 224), ("shorter", 256), "bicubic"),
        # ConvNext: by a part below 384, stretched from there on
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875,
          "resample": 3}, (224, 224), ("shorter", 256), "bicubic"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
         (384, 384), ("exact", None), "bilinear"),
        ({"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}, "do_center_crop": True,
          "crop_size": 224}, (224, 224), ("shorter", 256), "bicubic"),
    ],
)  # fmt: skip
def test_sizes(
    tmp_path: Path, keys: dict[str, Any], size: tuple[int, int], resized: tuple[str, int | None], interpolation: str
) -> None:
    result = found(tmp_path, **keys)
    assert (result.height, result.width) == size
    assert (result.rule.resize, result.rule.resize_to) == resized
    assert result.rule.interpolation == interpolation
    assert result.rule.longer == ("floor" if resized[0] == "shorter" else None)


@pytest.mark.parametrize(
    ("keys", "scale", "mean", "std"),
    [
        ({}, 1 / 255, (0, 0, 0), (1, 1, 1)),
        ({"image_mean": HALF, "image_std": HALF}, 1 / 255, (0.5,) * 3, (0.5,) * 3),
        ({"image_mean": HALF, "image_std": HALF, "do_normalize": False}, 1 / 255, (0, 0, 0), (1, 1, 1)),
        ({"do_rescale": False}, 1, (0, 0, 0), (1, 1, 1)),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True}, 1 / 127.5, (1, 1, 1), (1, 1, 1)),
        (
            {
                "image_processor_type": "EfficientNetImageProcessor",
                "image_mean": HALF,
                "image_std": HALF,
                "include_top": 1,
            },
            1 / 255,
            (0.5,) * 3,
            (0.25,) * 3,
        ),
    ],
)
def test_numbers(
    tmp_path: Path, keys: dict[str, Any], scale: float, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    rule = found(tmp_path, size=224, **keys).rule
    assert rule.scale == pytest.approx(scale)
    assert rule.mean == pytest.approx(mean)
    assert rule.std == pytest.approx(std)


def test_flipped_channels(tmp_path: Path) -> None:
    flipped = {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": True, "do_center_crop": True}
    assert found(tmp_path, size={"shortest_edge": 288}, crop_size=256, **flipped).rule.channels == "BGR"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({}, "does not say a size"),
        ({"size": 224, "do_resize": False}, "leaves pictures as large as they are"),
        ({"size": 224, "do_pad": True}, "fills pictures up with a border"),
        ({"size": 224, "resample": 5}, "method 5"),
        ({"size": {"longest_edge": 512}}, "fits pictures into a frame"),
        ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, "between two sizes"),
        ({"size": {"shortest_edge": 224}}, "pictures of any shape"),
        ({"size": {"height": 300, "width": 200}, "crop_size": 100}, "an oblong"),
        ({"size": 224, "do_normalize": True}, "without saying by what"),
        ({"size": 224, "image_mean": HALF, "image_std": [1, 0, 1]}, "divides by nothing"),
        ({"size": 224, "image_mean": [0.5], "image_std": [0.5]}, "image_mean"),
        ({"size": "large"}, "size"),
        ({"size": {"shortest_edge": -1}, "crop_size": 224}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_had_exactly_is_refused(tmp_path: Path, keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpec, match=f"{FILE}.*{reason}.*--preprocess"):
        found(tmp_path, **keys)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b"{" + b" " * 2**20 + b"}"])
def test_a_broken_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(InvalidSpec, match=f"{FILE}.*--preprocess"):
        read(tmp_path / FILE)


def test_it_lies_beside_the_model_or_above_its_folder_onnx(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    assert beside(tmp_path / "onnx" / "model.onnx") is None
    found(tmp_path, size=224)
    assert beside(tmp_path / "model.onnx") == beside(tmp_path / "onnx" / "model.onnx") == read(tmp_path / FILE)
    assert beside(tmp_path / "other" / "model.onnx") is None
