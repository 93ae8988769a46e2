"""Reads `preprocessor_config.json`, which lies beside models of Hugging Face, as a preprocessing of ours.

What cannot be had exactly is refused, never left out. Sources: the image processors of the transformers library; what
a file does not say is what the processor that it names has by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from models.errors import InvalidSpec
from models.spec import PreprocessSpec

FILE: Final = "preprocessor_config.json"
#: Bytes of such a file, at most; they are small.
_MAX_BYTES: Final = 2**20
_RESAMPLING: Final = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box"}
#: Processors, without their ends, to which one number is the shorter side; to all others it is both sides.
_SHORTER: Final = frozenset(
    (
        "CLIP",
        "Bit",
        "ConvNext",
        "Levit",
        "MobileNetV1",
        "MobileNetV2",
        "MobileViT",
        "PoolFormer",
        "ChineseCLIP",
        "FLAVA",
    )
)
_BICUBIC: Final = frozenset(("CLIP", "Bit", "DeiT", "Beit", "Levit", "PoolFormer", "Siglip", "ChineseCLIP"))

#: What ConvNext has by default: the side that is cut out, in the side that is resized to.
_CONVNEXT_CROP: Final = 224 / 256

Sides = dict[str, int]
Numbers = tuple[float, float, float]


@dataclass(frozen=True)
class Found:
    """A preprocessing and the size of the picture that comes out of it."""

    file: Path
    rule: PreprocessSpec
    #: Pixels.
    height: int
    #: Pixels.
    width: int


class _Config(BaseModel):
    """The keys that change a picture; those of other processors than pictures' are left alone."""

    image_processor_type: str = ""
    feature_extractor_type: str = ""
    do_resize: bool = True
    size: int | Sides | None = None
    resample: int | None = None
    do_center_crop: bool | None = None
    crop_size: int | Sides | None = None
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    do_rescale: bool = True
    rescale_factor: float = Field(default=1 / 255, gt=0, allow_inf_nan=False)
    rescale_offset: bool = False
    include_top: bool = False
    do_normalize: bool | None = None
    image_mean: Numbers | None = None
    image_std: Numbers | None = None
    do_pad: bool | None = None
    do_flip_channel_order: bool = False
    do_grayscale: bool = False

    @property
    def processor(self) -> str:
        """As "CLIP"."""
        name = self.image_processor_type or self.feature_extractor_type
        for end in ("Fast", "ImageProcessor", "FeatureExtractor"):
            name = name.removesuffix(end)
        return name


def beside(model: Path) -> Found | None:
    """What lies beside the ONNX file, or above it where it lies in `onnx`; raises InvalidSpec if it cannot be had."""
    folders = [model.parent, *([model.parent.parent] if model.absolute().parent.name == "onnx" else [])]
    files = [folder / FILE for folder in folders if (folder / FILE).is_file()]
    return read(files[0]) if files else None


def read(file: Path) -> Found:
    """Raises InvalidSpec for a file that is broken, or wants what imagefleet has not."""
    try:
        with file.open("rb") as opened:
            config = _Config.model_validate_json(opened.read(_MAX_BYTES))
    except OSError as error:
        raise InvalidSpec(f"{file} cannot be read ({error.strerror}); give --preprocess.") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:1]) or "it"
        raise InvalidSpec(f"{file}: {key}: {first['msg']}; correct it, or give --preprocess.") from None
    try:
        return _found(file, config)
    except _Unheard as reason:
        raise InvalidSpec(f"{file} {reason}, which imagefleet does not do; give --preprocess and --size.") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidSpec(f"{file}: {first['msg']}; correct it, or give --preprocess.") from None


class _Unheard(Exception):
    """What a file wants and cannot have."""


def _found(file: Path, config: _Config) -> Found:
    _refuse_what_we_have_not(config)
    resize, resize_to, (height, width) = _size(config)
    scale, mean, std = _numbers(config)
    rule = PreprocessSpec(
        resize=resize,
        resize_to=resize_to,
        longer="floor" if resize == "shorter" else None,
        interpolation=_interpolation(config),  # type: ignore[arg-type]
        channels="BGR" if config.do_flip_channel_order else "RGB",
        scale=scale,
        mean=mean,
        std=std,
    )
    return Found(file, rule, height, width)


def _refuse_what_we_have_not(config: _Config) -> None:
    wants: list[tuple[Any, str]] = [
        (not config.do_resize, "leaves pictures as large as they are"),
        (config.do_pad, "fills pictures up with a border"),
        (config.do_grayscale, "makes pictures grey"),
        (config.do_flip_channel_order and _normalises(config), "flips the channels before it normalises them"),
        (config.size is None, "does not say a size"),
    ]
    for wanted, words in wants:
        if wanted:
            raise _Unheard(words)


def _normalises(config: _Config) -> bool:
    return config.image_mean is not None if config.do_normalize is None else config.do_normalize


def _interpolation(config: _Config) -> str:
    code = config.resample if config.resample is not None else 3 if config.processor in _BICUBIC else 2
    if code not in _RESAMPLING:
        raise _Unheard(f"resizes by method {code} of Pillow")
    return _RESAMPLING[code]


def _numbers(config: _Config) -> tuple[float, Numbers, Numbers]:
    """Scale, mean and deviation, as `(pixel * scale - mean) / std`."""
    scale = config.rescale_factor if config.do_rescale else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if _normalises(config):
        if config.image_mean is None or config.image_std is None:
            raise _Unheard("normalises without saying by what")
        if 0 in config.image_std:
            raise _Unheard("divides by nothing")
        mean, std = list(config.image_mean), list(config.image_std)
        if config.processor == "EfficientNet" and config.include_top:
            std = [number * number for number in std]  # it divides once more
    if config.rescale_offset:
        mean = [number + 1 for number in mean]
    return scale, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


# --- size


def _size(config: _Config) -> tuple[Literal["shorter", "exact"], int | None, tuple[int, int]]:
    """How to resize, to what, and (height, width) of what is cut out then."""
    shorter, whole = _shorter(config), _sides(config.size)
    if shorter is None:
        assert whole is not None  # noqa: S101  one of both is there
        crop = _crop(config) or whole
        if crop == whole:
            return "exact", None, whole
        if whole[0] != whole[1]:
            raise _Unheard("stretches pictures to an oblong and cuts out its centre")
        return "exact", whole[0], crop
    if config.processor == "ConvNext":
        return _convnext(shorter, config.crop_pct or _CONVNEXT_CROP)
    if config.processor == "Levit":
        shorter = int(256 / 224 * shorter)
    if config.processor == "PoolFormer" and config.crop_pct:
        shorter = int(shorter / config.crop_pct)
    wanted = _crop(config)
    if wanted is None:
        raise _Unheard("gives pictures of any shape")
    return "shorter", shorter, wanted


def _convnext(side: int, part: float) -> tuple[Literal["shorter", "exact"], int | None, tuple[int, int]]:
    """Below 384 it cuts out the centre, from there on it stretches."""
    if side >= 384:
        return "exact", None, (side, side)
    return "shorter", int(side / part), (side, side)


def _shorter(config: _Config) -> int | None:
    """What the shorter side becomes, if that is how the file resizes."""
    if isinstance(config.size, int):
        by_name = config.processor in _SHORTER or (not config.processor and bool(config.do_center_crop))
        return config.size if by_name else None
    assert config.size is not None  # noqa: S101  refused before
    if "shortest_edge" in config.size:
        if "longest_edge" in config.size:
            raise _Unheard("fits pictures between two sizes")
        return config.size["shortest_edge"]
    if _sides(config.size) is None:
        raise _Unheard("fits pictures into a frame")
    return None


def _crop(config: _Config) -> tuple[int, int] | None:
    crops = config.crop_size is not None if config.do_center_crop is None else config.do_center_crop
    if not crops:
        return None
    sides = _sides(config.crop_size)
    if sides is None:
        raise _Unheard("cuts out a centre without saying how much")
    return sides


def _sides(size: int | Sides | None) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    return (size["height"], size["width"]) if size and {"height", "width"} <= set(size) else None
