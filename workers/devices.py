"""What one pool process takes of its machine: a device of its own, threads that decode, places in a run."""

from __future__ import annotations

import platform
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from models.batch_size import Remembered, largest_gaining
from models.encoder import Encoder
from models.providers import CPU, CUDA
from workers.cores import usable_cores
from workers.settings import Settings

#: Names the devices that CUDA shows to a process, in the order in which the process counts them.
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
#: Pictures of a run where nobody measures.
ON_CPU, ELSEWHERE = 16, 32
#: Threads that decode for an accelerator, at most.
THREADS_MAX = 8
_GPUS: Final = Path("/proc/driver/nvidia/gpus")


def take_one(variables: MutableMapping[str, str], number: int) -> None:
    """Of several visible devices leave this process one: pool process `number` takes device `number` modulo devices.

    To be called before anything of CUDA is loaded. Devices that nobody named are left as they are.
    """
    devices = [name.strip() for name in variables.get(VISIBLE, "").split(",") if name.strip()]
    if len(devices) > 1:
        variables[VISIBLE] = devices[number % len(devices)]


def pool_number() -> int:
    """The place of this process in its pool, from 0; one that replaces another has the same."""
    from billiard.process import current_process

    return int(getattr(current_process(), "index", 0))


def decode_threads(settings: Settings) -> int:
    """On the CPU none: there are as many processes as cores, and each has work while another decodes."""
    if settings.decode_threads is not None:
        return settings.decode_threads
    return 0 if settings.providers[0] == CPU else min(usable_cores(), THREADS_MAX)


def most(settings: Settings) -> int:
    """Pictures of a run that TensorRT gets ready for."""
    return settings.micro_batch if isinstance(settings.micro_batch, int) else ELSEWHERE


def micro_batch(encoder: Encoder, settings: Settings, remembered: Remembered) -> int:
    """Pictures of a run: what was asked for; or what is best on this device, measured now if it never was."""
    asked, on_cpu = settings.micro_batch, encoder.provider == CPU
    if isinstance(asked, int):
        return asked
    # TensorRT would build an engine for each size, minutes each; a model of one size has nothing to measure.
    if encoder.fixed_batch or encoder.provider not in (CPU, CUDA) or (on_cpu and asked is None):
        return ON_CPU if on_cpu else ELSEWHERE
    key = _key(encoder, settings)
    size = remembered.get(key)
    if size is None:
        size = largest_gaining(encoder.time)
        remembered.put(key, size)
    return size


def _key(encoder: Encoder, settings: Settings) -> str:
    limits = (settings.threads,) if encoder.provider == CPU else (settings.device_memory, settings.cudnn_search)
    return "/".join(map(str, (encoder.spec.fingerprint, encoder.provider, _device_name(encoder.provider), *limits)))


def _device_name(provider: str) -> str:
    """The make of the processor, or of the NVIDIA devices where their driver tells; never empty."""
    if provider != CPU:
        found = {_model(file) for file in sorted(_GPUS.glob("*/information"))}
        return "+".join(sorted(found)) or "device"
    try:
        made = re.search(r"^model name\s*: *(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        made = None
    return made[1] if made else platform.machine() or "cpu"


def _model(file: Path) -> str:
    found = re.search(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.MULTILINE)
    return found[1].strip() if found else "device"
