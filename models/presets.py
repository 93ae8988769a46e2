"""Preprocessing as the usual trainings had it, by name.

What a training did to the size of a picture is that of its evaluation: the shorter side to 8/7 of what the model takes
(256 for 224, as Krizhevsky et al. had it in 2012), then the centre; CLIP takes the shorter side as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.spec import PreprocessSpec

#: Side of the model's input, in the side that the picture is resized to.
_CROP: Final = 224 / 256

_PRESETS: Final[Mapping[str, PreprocessSpec]] = {
    # torchvision, timm and the ONNX model zoo: mean and deviation of ImageNet.
    "imagenet": PreprocessSpec(resize_to=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    # keras.applications.imagenet_utils, mode "caffe": VGG and ResNet, but not ResNetV2.
    "keras-caffe": PreprocessSpec(resize_to=256, channels="BGR", scale=1.0, mean=(103.939, 116.779, 123.68)),
    # The same, mode "tf": from -1 to 1. Inception, MobileNet, ResNetV2, Xception.
    "keras-tf": PreprocessSpec(resize_to=256, scale=1 / 127.5, mean=(1.0, 1.0, 1.0)),
    # OpenAI's CLIP, clip.py, _transform.
    "clip": PreprocessSpec(
        resize_to=224,
        longer="floor",
        interpolation="bicubic",
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
    # From 0 to 1.
    "unit": PreprocessSpec(resize_to=256),
    # From 0 to 255: models that scale by themselves, as Keras' EfficientNet.
    "pixels": PreprocessSpec(resize_to=256, scale=1.0),
}
#: Their names.
NAMES: Final = tuple(_PRESETS)


def preset(name: str, height: int, width: int) -> PreprocessSpec:
    """The preset of that name for an input of `height` x `width` pixels; raises KeyError."""
    rule, side = _PRESETS[name], max(height, width)
    return rule.model_copy(update={"resize_to": side if name == "clip" else round(side / _CROP)})
