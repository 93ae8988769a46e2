"""ResNet, VGG, SqueezeNet, MobileNetV2 and EfficientNet-Lite4."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from tests.graphs.building import Graph

# --- ResNet: He et al., Deep residual learning, 2015; Identity mappings, 2016; as Gluon has them


_UNITS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def resnet_v1(opset: int = 12, ir_version: int = 7) -> ModelProto:
    """ResNet-50, `resnetv17_`; the stride is in the first convolution of a unit."""
    graph, p = Graph(opset, ir_version), "resnetv17_"
    tensor = graph.norm(f"{p}batchnorm0_fwd", graph.conv(f"{p}conv0_fwd", "data", 3, 64, 7, 2), 64)
    tensor = graph.max_pool(f"{p}pool0_fwd", graph.add("Relu", f"{p}relu0_fwd", tensor), 3, 2, 1)
    width = 64
    for stage, units in enumerate(_UNITS[50], 1):
        number = 0
        for unit in range(units):
            name, outputs = f"{p}stage{stage}_", 128 << stage
            stride = 2 if unit == 0 and stage > 1 else 1
            inner, branch = outputs // 4, tensor
            steps = [(width, inner, 1, stride), (inner, inner, 3, 1), (inner, outputs, 1, 1)]
            for step, (inputs, many, side, by) in enumerate(steps):
                branch = graph.conv(f"{name}conv{number}_fwd", branch, inputs, many, side, by, bias=side == 1)
                branch = graph.norm(f"{name}batchnorm{number}_fwd", branch, many)
                if step < 2:
                    branch = graph.add("Relu", f"{name}relu{2 * unit + step}_fwd", branch)
                number += 1
            if unit == 0:
                tensor = graph.conv(f"{name}conv{number}_fwd", tensor, width, outputs, 1, stride)
                tensor = graph.norm(f"{name}batchnorm{number}_fwd", tensor, outputs)
                number += 1
            tensor = graph.add("Add", f"{name}_plus{unit}", branch, tensor)
            tensor = graph.add("Relu", f"{name}activation{unit}", tensor)
            width = outputs
    flat = graph.add("Flatten", "flatten_473", graph.add("GlobalAveragePool", f"{p}pool1_fwd", tensor))
    return graph.model("data", ["N", 3, 224, 224], graph.dense(f"{p}dense0_fwd", flat, 2048, 1000))


def resnet_v2(depth: int, p: str) -> ModelProto:
    """ResNet-18 of plain units, ResNet-50 and -101 of bottlenecks; activation before the weights."""
    graph = Graph(7, 3, lists_weights=True)
    wide = 1 if depth == 18 else 4
    tensor = graph.conv(f"{p}conv0_fwd", graph.norm(f"{p}batchnorm0_fwd", "data", 3), 3, 64, 7, 2)
    tensor = graph.add("Relu", f"{p}relu0_fwd", graph.norm(f"{p}batchnorm1_fwd", tensor, 64))
    tensor, width = graph.max_pool(f"{p}pool0_fwd", tensor, 3, 2, 1), 64
    for stage, units in enumerate(_UNITS[depth], 1):
        for unit in range(units):
            name, inner = f"{p}stage{stage}_unit{unit}_", 32 << stage
            outputs, stride = inner * wide, 2 if unit == 0 and stage > 1 else 1
            ready = graph.add("Relu", f"{name}relu0_fwd", graph.norm(f"{name}batchnorm0_fwd", tensor, width))
            if unit == 0 and (stride, width) != (1, outputs):
                tensor = graph.conv(f"{name}shortcut_fwd", ready, width, outputs, 1, stride)
            plain = [(width, inner, 3, stride), (inner, inner, 3, 1)]
            bottleneck = [(width, inner, 1, 1), (inner, inner, 3, stride), (inner, outputs, 1, 1)]
            branch = ready
            for step, (inputs, many, side, by) in enumerate(plain if wide == 1 else bottleneck):
                if step:
                    branch = graph.norm(f"{name}batchnorm{step}_fwd", branch, inputs)
                    branch = graph.add("Relu", f"{name}relu{step}_fwd", branch)
                branch = graph.conv(f"{name}conv{step}_fwd", branch, inputs, many, side, by)
            tensor, width = graph.add("Add", f"{name}_plus", branch, tensor), outputs
    tensor = graph.add("Relu", f"{p}relu1_fwd", graph.norm(f"{p}batchnorm2_fwd", tensor, width))
    pooled = graph.add("GlobalAveragePool", f"{p}pool1_fwd", tensor)
    flat = graph.add("Reshape", f"{p}flatten0_reshape0", pooled, graph.constant(f"{p}shape", [0, -1]))
    return graph.model("data", ["N", 3, 224, 224], graph.dense(f"{p}dense0_fwd", flat, width, 1000))


# --- VGG: Simonyan and Zisserman, 2014


_BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_FLATTENED = {16: (60, 65, 70), 19: (72, 77, 82)}


def vgg(depth: int, opset: int = 7, ir_version: int = 3) -> ModelProto:
    """The weights of the first dense layer, 411 MB, are one number that the graph itself spreads out."""
    graph = Graph(opset, ir_version, lists_weights=ir_version < 4)
    tensor, number, width = "data", 0, 3
    for block, layers in enumerate(_BLOCKS[depth]):
        outputs = min(64 << block, 512)
        for _ in range(layers):
            tensor = graph.conv(f"vgg0_conv{number}_fwd", tensor, width, outputs, 3, bias=True)
            tensor = graph.add("Relu", f"vgg0_relu{number}_fwd", tensor)
            number, width = number + 1, outputs
        tensor = graph.max_pool(f"vgg0_pool{block}_fwd", tensor, 2, 2)
    for layer, (inputs, outputs) in enumerate(((25088, 4096), (4096, 4096), (4096, 1000))):
        name = f"vgg0_dense{layer}"
        tensor = graph.add("Flatten", f"flatten_{_FLATTENED[depth][layer]}", tensor)
        if layer == 0:
            one = graph.weight(f"{name}_one", 1, 1, scale=0.0, around=1e-4)
            graph.add("Tile", f"{name}_weight", one, graph.constant(f"{name}_shape", [outputs, inputs]))
            bias = graph.weight(f"{name}_bias", outputs)
            tensor = graph.add("Gemm", f"{name}_fwd", tensor, f"{name}_weight", bias, transB=1)
        else:
            tensor = graph.dense(f"{name}_fwd", tensor, inputs, outputs)
        if layer < 2:
            tensor = graph.add("Relu", f"{name}_relu_fwd", tensor)
            tensor = graph.add("Dropout", f"vgg0_dropout{layer}_fwd", tensor)
    return graph.model("data", [1, 3, 224, 224], tensor)


# --- SqueezeNet 1.1: Iandola et al., 2016, and the authors' later version


def squeezenet() -> ModelProto:
    """The classifier is a convolution before the pooling: the last pooling has 1000 channels, not 512."""
    graph, p = Graph(7, 3, lists_weights=True), "squeezenet0_"
    number = 0

    def conv(tensor: str, inputs: int, outputs: int, side: int, stride: int = 1, pad: int = 0) -> str:
        nonlocal number
        name, number = f"{p}conv{number}_fwd", number + 1
        made = graph.conv(name, tensor, inputs, outputs, side, stride, pad=pad, bias=True)
        return graph.add("Relu", name.replace("conv", "relu"), made)

    tensor, width = graph.max_pool(f"{p}pool0_fwd", conv("data", 3, 64, 3, 2), 3, 2), 64
    for fire, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        narrow = conv(tensor, width, squeezed, 1)
        both = [conv(narrow, squeezed, 4 * squeezed, 1), conv(narrow, squeezed, 4 * squeezed, 3, pad=1)]
        tensor, width = graph.add("Concat", f"{p}concat{fire}", *both, axis=1), 8 * squeezed
        if fire in (1, 3):
            tensor = graph.max_pool(f"{p}pool{(fire + 1) // 2}_fwd", tensor, 3, 2)
    tensor = conv(graph.add("Dropout", f"{p}dropout0_fwd", tensor), width, 1000, 1)
    pooled = graph.add("AveragePool", f"{p}pool3_fwd", tensor, kernel_shape=[13, 13], strides=[13, 13])
    label = graph.add("Reshape", f"{p}flatten0_reshape0", pooled, graph.constant(f"{p}shape", [0, -1]))
    return graph.model("data", [1, 3, 224, 224], label)


# --- MobileNetV2: Sandler et al., 2018; EfficientNet-Lite4: Tan and Le, 2019, and Google's later version


def mobilenet() -> ModelProto:
    """As torchvision exports it, normalisation folded into the convolutions."""
    graph = Graph(12, 7)
    tensor = _clipped(graph, "474", graph.conv("474_fwd", "input", 3, 32, 3, 2, bias=True))
    width = 32
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for stage, (factor, outputs, units, stride) in enumerate(stages):
        for unit in range(units):
            tensor = _inverted(graph, f"s{stage}_{unit}", tensor, width, outputs, factor, 3, 1 if unit else stride)
            width = outputs
    tensor = _clipped(graph, "627", graph.conv("627_fwd", tensor, width, 1280, 1, bias=True))
    pooled = graph.add("GlobalAveragePool", "464", tensor)
    flat = graph.add("Reshape", "472", pooled, graph.constant("471", [0, -1]))
    return graph.model("input", ["batch_size", 3, 224, 224], graph.dense("output", flat, 1280, 1000))


def efficientnet() -> ModelProto:
    """As tf2onnx converts it: the picture is turned from NHWC to NCHW, the last pooling is one of 7 x 7."""
    graph, p = Graph(11, 6), "efficientnet-lite4/model/"
    turned = graph.add("Transpose", f"{p}stem/conv2d/Conv2D__5:0", "images:0", perm=[0, 3, 1, 2])
    tensor = _clipped(graph, f"{p}stem/Relu6:0", graph.conv(f"{p}stem/conv2d", turned, 3, 32, 3, 2, bias=True))
    width = 32
    stages = ((1, 24, 1, 1, 3), (6, 32, 4, 2, 3), (6, 56, 4, 2, 5), (6, 112, 6, 2, 3), (6, 160, 6, 1, 5),
              (6, 272, 8, 2, 5), (6, 448, 1, 1, 3))  # fmt: skip
    for stage, (factor, outputs, units, stride, side) in enumerate(stages):
        for unit in range(units):
            name = f"{p}blocks_{stage}_{unit}"
            tensor = _inverted(graph, name, tensor, width, outputs, factor, side, 1 if unit else stride)
            width = outputs
    tensor = _clipped(graph, f"{p}head/Relu6:0", graph.conv(f"{p}head/conv2d", tensor, width, 1280, 1, bias=True))
    pooled = graph.add("AveragePool", f"{p}head/AvgPool:0", tensor, kernel_shape=[7, 7], strides=[1, 1])
    flat = graph.add("Squeeze", f"{p}head/Squeeze:0", pooled, axes=[2, 3])
    label = graph.add("Softmax", "Softmax:0", graph.dense(f"{p}head/dense/BiasAdd:0", flat, 1280, 1000))
    return graph.model("images:0", [1, 224, 224, 3], label)


def _inverted(
    graph: Graph, name: str, tensor: str, inputs: int, outputs: int, factor: int, side: int, stride: int
) -> str:
    """Widened, filtered channel by channel, narrowed; with the picture added where the shape stays."""
    wide, inner = tensor, inputs * factor
    if factor > 1:
        wide = _clipped(graph, f"{name}_wide", graph.conv(f"{name}_wide_fwd", tensor, inputs, inner, 1, bias=True))
    filtered = graph.conv(f"{name}_deep_fwd", wide, inner, inner, side, stride, groups=inner, bias=True)
    narrow = graph.conv(f"{name}_narrow_fwd", _clipped(graph, f"{name}_deep", filtered), inner, outputs, 1, bias=True)
    if (stride, inputs) != (1, outputs):
        return narrow
    return graph.add("Add", f"{name}_plus", narrow, tensor)


def _clipped(graph: Graph, name: str, tensor: str) -> str:
    zero = graph.constant("zero", np.array(0, np.float32))
    return graph.add("Clip", name, tensor, zero, graph.constant("six", np.array(6, np.float32)))
