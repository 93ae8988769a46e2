"""A model that stands for one of another framework, so small that it is compared in no time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models.export import FEATURES, PICTURES, Draft
from models.spec import PreprocessSpec

SIDE = 8


def draft(**values: Any) -> Draft:
    given = {
        "name": "largest", "title": "The largest of each channel", "licence": "Apache-2.0", "source": "a test",
        "layout": "NHWC", "side": SIDE, "preprocess": PreprocessSpec(resize_to=SIDE), "dimension": 3,
    }  # fmt: skip
    return Draft(**(given | values))


@dataclass
class Largest:
    """An Original: the largest number of each channel; `wrong` is added to what it says of a picture."""

    draft: Draft = field(default_factory=draft)
    wrong: float = 0.0
    batch: int | str = "batch"
    #: Pictures that went in together, one entry each time.
    seen: list[int] = field(default_factory=list)

    def write(self, file: Path) -> None:
        pictures = helper.make_tensor_value_info(PICTURES, TensorProto.FLOAT, [self.batch, SIDE, SIDE, 3])
        features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, [self.batch, 3])
        axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
        node = helper.make_node("ReduceMax", [PICTURES, "axes"], [FEATURES], keepdims=0)
        graph = helper.make_graph([node], "largest", [pictures], [features], [axes])
        model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
        file.write_bytes(model.SerializeToString())

    def features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        self.seen.append(len(batch))
        found: NDArray[np.float32] = batch.max((1, 2)) + np.float32(self.wrong)
        return found
