"""Which tensor of a graph is the vector of a picture: the one before the classifier, or what else may serve."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import onnx

from models.flow import Flow

Pool = Literal["none", "max", "mean"]
Layout = Literal["NCHW", "NHWC"]

#: Numbers in a vector, at most. See FeatureSpec.
MAX_DIMENSION: Final = 32_768

#: They change at most the shape or the type.
_SHAPING: Final = frozenset(("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast",
                             "QuantizeLinear", "DequantizeLinear"))  # fmt: skip
_POOLS: Final = frozenset(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool",
                           "AveragePool", "MaxPool", "QLinearAveragePool", "ReduceMean", "ReduceMax"))  # fmt: skip
_MAX_POOLS: Final = frozenset(("GlobalMaxPool", "MaxPool", "ReduceMax"))
_CONVOLUTIONS: Final = frozenset(("Conv", "QLinearConv", "ConvInteger", "FusedConv"))
_DENSE: Final = frozenset(("Gemm", "MatMul", "FusedGemm", "FusedMatMul", "QGemm", "QLinearMatMul", "MatMulInteger",
                           "MatMulNBits", "DynamicQuantizeMatMul", "GemmFloat8"))  # fmt: skip
_PROBABILITIES: Final = frozenset(("Softmax", "LogSoftmax", "Sigmoid", "QLinearSoftmax", "QLinearSigmoid"))
#: What may follow the layer that classifies.
_AFTER: Final = _SHAPING | _POOLS | _PROBABILITIES | {"Add", "Sub", "Mul", "Div", "Relu", "QLinearAdd", "BiasGelu"}
#: What may stand between two dense layers.
_BETWEEN: Final = _SHAPING | _POOLS | {
    "Add", "Relu", "LeakyRelu", "PRelu", "Tanh", "Gelu", "BatchNormalization", "LayerNormalization", "Clip",
}  # fmt: skip
#: Classes of the usual sets: ImageNet, with background, 21k in three ways, CIFAR, Places, Food.
_USUAL_CLASSES: Final = frozenset((1000, 1001, 10450, 11221, 21841, 21843, 10, 100, 365, 101))
_SAYS_VECTOR: Final = re.compile(r"embed|feature|vector|pooler|descriptor|represent", re.I)
_SAYS_CLASSES: Final = re.compile(r"logit|prob|softmax|class|score|predict|label", re.I)
#: Steps back from an output, at most; a classifier is near it.
_STEPS: Final = 64


@dataclass(frozen=True)
class Candidate:
    """A tensor that can be the vector of a picture."""

    tensor: str
    #: Axes without the batch.
    shape: tuple[int, ...]
    pool: Pool
    #: Axes of a spatial map where they are not those of the input.
    layout: Layout | None
    dimension: int
    #: In words.
    what: str
    #: Whether it has places to pool over, and how many channels then.
    channels: int | None = None

    @property
    def is_map(self) -> bool:
        return self.channels is not None

    def pooled(self, pool: Literal["max", "mean"]) -> Candidate:
        """The same map in another way; only for a map."""
        assert self.channels is not None  # noqa: S101  see above
        return replace(self, pool=pool, dimension=self.channels)


class _Classifier(NamedTuple):
    """The layer that makes an output of what is wanted."""

    node: onnx.NodeProto
    source: str
    #: Operators between it and the output, the last first.
    after: tuple[str, ...]
    classes: int


class Unusable(Exception):
    """Why a tensor cannot be a vector."""


def candidates(flow: Flow, outputs: list[str], layout: Layout) -> list[Candidate]:
    """The proposal first; empty if nothing will do. `layout` is that of the input."""
    found = _Finder(flow, layout)
    unique: dict[str, Candidate] = {}
    for candidate in found.of(outputs):
        unique.setdefault(candidate.tensor, candidate)
    return list(unique.values())


def candidate(flow: Flow, tensor: str, layout: Layout, pool: Pool | None = None, what: str = "as asked") -> Candidate:
    """`tensor` as the vector; a map is pooled by its mean unless `pool` says otherwise. Raises Unusable."""
    axes = flow.shape(tensor)
    if axes is None or None in axes[1:]:
        raise Unusable("has no shape that can be told beforehand")
    if not flow.is_float(tensor):
        raise Unusable("does not hold fractions")
    shape = tuple(axis for axis in axes[1:] if axis is not None)
    if not shape:
        raise Unusable("is a single number" + " for each picture" * bool(axes))
    own = _layout(flow, tensor, layout)
    if not _is_map(shape, own):
        if pool not in (None, "none"):
            raise Unusable(f"is no spatial map, so there is nothing to pool by its {pool}")
        _check_vector(shape)
        return Candidate(tensor, shape, "none", None, math.prod(shape), what)
    pool = pool or "mean"
    channels = shape[0 if own == "NCHW" else 2]
    dimension = math.prod(shape) if pool == "none" else channels
    if dimension > MAX_DIMENSION:
        raise Unusable(f"has {dimension:,} numbers, and {MAX_DIMENSION:,} are the most")
    return Candidate(tensor, shape, pool, own if own != layout else None, dimension, what, channels)


def _check_vector(shape: tuple[int, ...]) -> None:
    if math.prod(shape) == 1:
        raise Unusable("is a single number for each picture")
    if math.prod(shape) > MAX_DIMENSION:
        many = f", one vector for each of {shape[0]} places in the picture" if len(shape) == 2 else ""
        raise Unusable(f"has {math.prod(shape):,} numbers{many}, and {MAX_DIMENSION:,} are the most")
    if len(shape) == 2 and 1 not in shape:
        raise Unusable(f"has one vector for each of {shape[0]} places in the picture, not one for the picture")


def _counted(classes: int) -> str:
    return f"{classes} class{'es' * (classes != 1)}"


def _is_map(shape: tuple[int, ...], layout: Layout) -> bool:
    sides = shape[1:] if layout == "NCHW" else shape[:2]
    return len(shape) == 3 and math.prod(sides) > 1


def _layout(flow: Flow, tensor: str, given: Layout) -> Layout:
    """Convolutions of ONNX have the channels first; a Transpose may have moved them since."""
    for _ in range(_STEPS):
        node = flow.producer(tensor)
        if node is None:
            return given
        if node.op_type == "Transpose":
            order = [list(item.ints) for item in node.attribute if item.name == "perm"]
            if order == [[0, 2, 3, 1]]:
                return "NHWC"
        if node.op_type in _CONVOLUTIONS | _POOLS - {"ReduceMean", "ReduceMax"} | {"Transpose"}:
            return "NCHW"
        inputs = [name for name in node.input if name in flow.tensors]
        if not inputs:
            return given
        tensor = inputs[0]
    return given


class _Finder:
    """Walks back from outputs."""

    def __init__(self, flow: Flow, layout: Layout) -> None:
        self._flow, self._layout = flow, layout

    def of(self, outputs: list[str]) -> Iterator[Candidate]:
        """Outputs that are vectors by their names, then what lies before the classifiers, then the rest."""
        named = [name for name in outputs if _SAYS_VECTOR.search(name)]
        heads = {name: head for name in outputs if name not in named and (head := self._classifier(name))}
        usable = [item for name in (*named, *outputs) if name not in heads for item in self._try(name, "output")]
        yield from (item for item in usable if item.tensor in named)
        for head in heads.values():
            yield from self._before(head)
        yield from usable
        for item in usable:
            yield from self._further(item.tensor)
        for name, head in heads.items():
            yield from self._try(name, f"scores of {_counted(head.classes)}, seldom wanted")

    def _try(self, tensor: str, what: str, pool: Pool | None = None) -> Iterator[Candidate]:
        try:
            yield candidate(self._flow, tensor, self._layout, pool, what)
        except Unusable:
            return

    # --- the classifier

    def _classifier(self, output: str) -> _Classifier | None:
        after: list[str] = []
        tensor = output
        for _ in range(_STEPS):
            node = self._flow.producer(tensor)
            source = self._flow.source(node) if node is not None else None
            if node is None or source is None:
                return None
            if self._is_dense(node) or self._is_dense_convolution(node, tensor):
                head = _Classifier(node, source, tuple(after), self._last_axis(output))
                return head if self._classifies(head, output) else None
            if node.op_type not in _AFTER:
                return None
            after.append(node.op_type)
            tensor = source
        return None

    def _is_dense(self, node: onnx.NodeProto) -> bool:
        return node.op_type in _DENSE and any(self._flow.is_constant(name) for name in node.input)

    def _is_dense_convolution(self, node: onnx.NodeProto, tensor: str) -> bool:
        """One of 1 x 1, or one that leaves one place."""
        if node.op_type not in _CONVOLUTIONS:
            return False
        kernels = [list(item.ints) for item in node.attribute if item.name == "kernel_shape"]
        return kernels == [[1, 1]] or (self._flow.shape(tensor) or (None,))[2:] == (1, 1)

    def _last_axis(self, output: str) -> int:
        axes = [axis for axis in (self._flow.shape(output) or ())[1:] if axis and axis > 1]
        return axes[-1] if axes else 1

    def _classifies(self, head: _Classifier, output: str) -> bool:
        """Whether the layer sorts into classes, rather than makes the vector."""
        if _PROBABILITIES.intersection(head.after) or _SAYS_CLASSES.search(output):
            return True
        if head.classes in _USUAL_CLASSES:
            return True
        has_bias = len(head.node.input) > 2 or "Add" in head.after
        return head.node.op_type in _DENSE and has_bias

    # --- what lies before it

    def _before(self, head: _Classifier) -> Iterator[Candidate]:
        tensor = self._settled(head.source)
        made_by = self._flow.producer(tensor)
        pooled = made_by is not None and made_by.op_type in _POOLS
        pool = self._pool(head.after)
        if self._is_map(tensor):
            yield from self._try(tensor, f"last map before {_counted(head.classes)}", pool)
            return
        yield from self._try(tensor, f"{'global pool' if pooled else 'last layer'} before {_counted(head.classes)}")
        yield from self._further(tensor)

    def _further(self, tensor: str) -> Iterator[Candidate]:
        """Dense layers before `tensor`, and the last map that they come from."""
        passed: list[str] = []
        for _ in range(_STEPS):
            node = self._flow.producer(tensor)
            if node is None or node.op_type not in _BETWEEN | _DENSE:
                return
            source = self._flow.source(node)
            if source is None:
                return
            passed.append(node.op_type)
            tensor = self._settled(source)
            if self._is_map(tensor):
                yield from self._try(tensor, "last map", self._pool(tuple(passed)))
                return
            if node.op_type in _DENSE:
                yield from self._try(tensor, "layer before that")

    def _settled(self, tensor: str) -> str:
        """Where a chain of mere shapes begins, as fractions."""
        best = tensor
        for _ in range(_STEPS):
            node = self._flow.producer(tensor)
            source = self._flow.source(node) if node is not None and node.op_type in _SHAPING else None
            if source is None:
                break
            tensor = source
            best = tensor if self._flow.is_float(tensor) else best
        return best

    def _is_map(self, tensor: str) -> bool:
        shape = self._flow.shape(tensor) or ()
        return len(shape) == 4 and _is_map(tuple(axis or 2 for axis in shape[1:]), _layout(self._flow, tensor, "NCHW"))

    @staticmethod
    def _pool(after: tuple[str, ...]) -> Pool:
        """As the graph itself does; a map that dense layers read is better pooled by its maximum."""
        return "mean" if _POOLS.intersection(after) - _MAX_POOLS else "max"
