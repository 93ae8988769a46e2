"""ONNX graphs of the true architectures of catalogued models, with random weights.

Layers, operators, shapes, the names of inputs and of feature tensors, opset, IR version, and whether weights are listed
among the inputs, are those of the true files as far as these are published: the manifest and the READMEs of the ONNX
model zoo, lists of layers that users of the files printed, and the papers. Names in between are like the true ones.

Three things keep them small: the numbers repeat, the layers of the transformer share one set of weights, and the first
dense layer of VGG (411 MB) spreads out one number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import ModelProto

from tests.graphs.convolutional import efficientnet, mobilenet, resnet_v1, resnet_v2, squeezenet, vgg
from tests.graphs.quantised import quantised
from tests.graphs.transformer import clip_vision

#: Name in the catalogue -> the graph of its file.
TRUE: Mapping[str, Callable[[], ModelProto]] = {
    "clip-vit-b32": clip_vision,
    "efficientnet-lite4": efficientnet,
    "mobilenetv2": mobilenet,
    "mobilenetv2-int8": lambda: quantised(mobilenet()),
    "resnet101-v2": lambda: resnet_v2(101, "resnetv25_"),
    "resnet18-v2": lambda: resnet_v2(18, "resnetv22_"),
    "resnet50-v1": resnet_v1,
    "resnet50-v1-int8": lambda: quantised(resnet_v1()),
    "resnet50-v2": lambda: resnet_v2(50, "resnetv24_"),
    "squeezenet1.1": squeezenet,
    "vgg16": lambda: vgg(16),
    "vgg16-fc2": lambda: vgg(16),
    "vgg16-int8": lambda: quantised(vgg(16, opset=12, ir_version=7)),
    "vgg19": lambda: vgg(19),
    "vgg19-fc2": lambda: vgg(19),
}
