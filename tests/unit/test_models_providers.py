"""What ONNX Runtime is told about accelerators, and what it says when one is full."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from models.encoder import run
from models.errors import InferenceFailed, OutOfDeviceMemory
from models.providers import CPU, CUDA, TENSORRT, Device, with_options

SHAPES = {"picture": (3, 224, 224)}
#: As they stand in its bug reports.
FULL = [
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'c1'"
    " Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 8388608000",
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc(&p, size);",
    "[ONNXRuntimeError] : 1 : FAIL : CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
    "[ONNXRuntimeError] : 1 : FAIL : CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
]


def test_cuda_gets_its_options_by_their_names() -> None:
    device = Device(id=2, memory=4 * 2**30, cudnn_search="HEURISTIC")
    assert with_options([CUDA, CPU], device, SHAPES, 32) == [
        (
            CUDA,
            {
                "device_id": "2",
                "gpu_mem_limit": "4294967296",
                "cudnn_conv_algo_search": "HEURISTIC",
                "arena_extend_strategy": "kSameAsRequested",
            },
        ),
        CPU,
    ]


def test_no_limit_is_no_option() -> None:
    ((_, options),) = with_options([CUDA], Device(), SHAPES, 32)
    assert "gpu_mem_limit" not in options


def test_tensorrt_gets_its_options_and_one_range_of_sizes() -> None:
    device = Device(id=1, fp16=True, engines=Path("/var/engines"))
    ((name, options),) = with_options([TENSORRT], device, SHAPES, 48)
    assert name == TENSORRT
    assert options == {
        "device_id": "1",
        "trt_fp16_enable": "True",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": "/var/engines",
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": "/var/engines",
        "trt_profile_min_shapes": "picture:1x3x224x224",
        "trt_profile_opt_shapes": "picture:48x3x224x224",
        "trt_profile_max_shapes": "picture:48x3x224x224",
    }


def test_a_session_takes_providers_in_this_form(tmp_path: Path) -> None:
    from tests.tiny_models import tiny

    session = onnxruntime.InferenceSession(
        tiny(tmp_path).file.read_bytes(), providers=with_options([CPU], Device(), SHAPES, 1)
    )
    assert session.get_providers() == [CPU]


class Session:
    """Fails with a sentence of ONNX Runtime's."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize("sentence", FULL)
@pytest.mark.parametrize("kind", [ort.RuntimeException, ort.Fail])
def test_a_full_device_is_known_by_what_is_said(kind: type[Exception], sentence: str) -> None:
    with pytest.raises(OutOfDeviceMemory, match="tiny failed"):
        run(Session(kind(sentence)), "y", {}, "tiny")


def test_other_failures_are_not_taken_for_it() -> None:
    with pytest.raises(InferenceFailed) as caught:
        run(Session(ort.InvalidArgument("Got invalid dimensions for input: picture")), "y", {}, "tiny")
    assert not isinstance(caught.value, OutOfDeviceMemory)
