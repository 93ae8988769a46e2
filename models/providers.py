"""What ONNX Runtime is told about an accelerator: options of its execution providers, by the names that it gives them.

Names and meanings are those of ONNX Runtime's pages on the CUDA and TensorRT execution providers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

CudnnSearch = Literal["EXHAUSTIVE", "HEURISTIC", "DEFAULT"]
#: A provider, or a provider with its options, as InferenceSession takes it.
Provider = str | tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Device:
    """Which device a session runs on, and how."""

    #: Its number among those that the process sees.
    id: int = 0
    #: Bytes that the arena of the CUDA provider may take; 0 for all there are.
    memory: int = 0
    #: How cuDNN finds the algorithm of a convolution, once for each new shape.
    cudnn_search: CudnnSearch = "EXHAUSTIVE"
    #: Whether TensorRT may compute in half precision.
    fp16: bool = False
    #: Where TensorRT keeps the engines that it built; none for nowhere.
    engines: Path | None = None


def with_options(
    names: Sequence[str], device: Device, shapes: Mapping[str, Sequence[int]], most: int
) -> list[Provider]:
    """The providers with the options that `device` means for each.

    `shapes` are those of one picture by the names of the inputs, and `most` the pictures of a run: TensorRT builds one
    engine for all sizes up to it, instead of a new one at each size that is larger than those before.
    """
    return [_with_options(name, device, shapes, most) for name in names]


def _with_options(name: str, device: Device, shapes: Mapping[str, Sequence[int]], most: int) -> Provider:
    if name == CUDA:
        return name, _cuda(device)
    if name == TENSORRT:
        return name, {**_tensorrt(device), **_profile(shapes, most)}
    return name


def _cuda(device: Device) -> dict[str, str]:
    options = {
        "device_id": str(device.id),
        "cudnn_conv_algo_search": device.cudnn_search,
        # Doubling would take memory that a neighbour on the same device may need.
        "arena_extend_strategy": "kSameAsRequested",
    }
    return options | ({"gpu_mem_limit": str(device.memory)} if device.memory else {})


def _tensorrt(device: Device) -> dict[str, str]:
    options = {"device_id": str(device.id), "trt_fp16_enable": _flag(device.fp16)}
    if device.memory:
        options["trt_max_workspace_size"] = str(device.memory)
    if device.engines is not None:
        options |= {"trt_engine_cache_enable": _flag(True), "trt_engine_cache_path": str(device.engines)}
        options |= {"trt_timing_cache_enable": _flag(True), "trt_timing_cache_path": str(device.engines)}
    return options


def _profile(shapes: Mapping[str, Sequence[int]], most: int) -> dict[str, str]:
    def of(pictures: int) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, (pictures, *shape)))}" for name, shape in shapes.items())

    return {
        "trt_profile_min_shapes": of(1),
        "trt_profile_opt_shapes": of(most),
        "trt_profile_max_shapes": of(most),
    }


def _flag(on: bool) -> str:
    return "True" if on else "False"


#: What ONNX Runtime and the libraries under it say when a device, or the memory beside the CPU, is full.
_NO_MEMORY: Final = (
    "failed to allocate memory for requested buffer",
    "out of memory",
    "cuda_error_out_of_memory",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
    "outofmemory",
)


def is_out_of_memory(text: str) -> bool:
    """Whether an error of ONNX Runtime says that there was no memory for this run; a smaller one may have it."""
    lower = text.lower()
    return any(sentence in lower for sentence in _NO_MEMORY)
