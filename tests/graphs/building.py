"""Nodes and random weights, as a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

#: Their numbers repeat: making them takes longer than anything else here.
_POOL = np.random.default_rng(7).standard_normal(1_000_003).astype(np.float32)


class Graph:
    """Nodes in the order in which they are asked for; a node and its first result have one name."""

    def __init__(self, opset: int, ir_version: int, *, lists_weights: bool = False) -> None:
        self._opset, self._ir_version, self._lists_weights = opset, ir_version, lists_weights
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}

    def weight(self, name: str, *shape: int, scale: float | None = None, around: float = 0.0) -> str:
        """Random numbers, by default such that a layer neither swells nor dies; the same name is the same weight."""
        if name not in self._weights:
            count = math.prod(shape)
            fan_in = math.prod(shape[1:]) or 1
            spread = math.sqrt(2 / fan_in) if scale is None else scale
            numbers = np.resize(np.roll(_POOL, len(self._weights)), count) * np.float32(spread) + np.float32(around)
            self.constant(name, numbers.reshape(shape).astype(np.float32))
        return name

    def constant(self, name: str, values: Any) -> str:
        array = values if isinstance(values, np.ndarray) else np.asarray(values, np.int64)
        self._weights[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def conv(
        self, name: str, tensor: str, inputs: int, outputs: int, side: int, stride: int = 1, *,
        groups: int = 1, pad: int | None = None, bias: bool = False,
    ) -> str:  # fmt: skip
        around = side // 2 if pad is None else pad
        stem = name.removesuffix("_fwd")
        weights = [self.weight(f"{stem}_weight", outputs, inputs // groups, side, side)]
        if bias:
            weights.append(self.weight(f"{stem}_bias", outputs, scale=0.1))
        return self.add(
            "Conv", name, tensor, *weights,
            kernel_shape=[side, side], strides=[stride, stride], pads=[around] * 4, group=groups, dilations=[1, 1],
        )  # fmt: skip

    def norm(self, name: str, tensor: str, channels: int) -> str:
        stem = name.removesuffix("_fwd")
        parts = [("gamma", 1.0), ("beta", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
        weights = [self.weight(f"{stem}_{part}", channels, scale=0.01, around=around) for part, around in parts]
        return self.add("BatchNormalization", name, tensor, *weights, epsilon=1e-5, momentum=0.9)

    def max_pool(self, name: str, tensor: str, side: int, stride: int, pad: int = 0) -> str:
        return self.add(
            "MaxPool", name, tensor, kernel_shape=[side, side], strides=[stride, stride], pads=[pad] * 4
        )  # fmt: skip

    def dense(self, name: str, tensor: str, inputs: int, outputs: int) -> str:
        stem = name.removesuffix("_fwd")
        weights = self.weight(f"{stem}_weight", outputs, inputs), self.weight(f"{stem}_bias", outputs, scale=0.1)
        return self.add("Gemm", name, tensor, *weights, alpha=1.0, beta=1.0, transA=0, transB=1)

    def model(self, picture: str, shape: Sequence[int | str], output: str) -> ModelProto:
        inputs = [helper.make_tensor_value_info(picture, TensorProto.FLOAT, shape)]
        if self._lists_weights:
            inputs += [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in self._weights.values()]
        label = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, "true", inputs, [label], list(self._weights.values()))
        return helper.make_model(
            graph, ir_version=self._ir_version, opset_imports=[helper.make_opsetid("", self._opset)]
        )
