"""Settings: one frozen object, read from IMAGEFLEET_* variables, then from what `imagefleet up` left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from models.providers import CudnnSearch, Device
from models.spec import Name
from workers.contract import BATCH_MAX, LIBRARY_PATTERN

#: Written by the local stack into the state folder: addresses and the password of what it runs.
STACK_FILE = "stack.json"


def _number_or_auto(value: Any) -> Any:
    """One rule, so that a wrong value gets one sentence."""
    text = str(value).strip().lower()
    if value is None or text in ("auto", "0"):
        return None if value is None else "auto"
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MICRO_BATCH_MAX:
        raise ValueError(f"give a number from 1 to {MICRO_BATCH_MAX}, or `auto`")
    return int(text)


MICRO_BATCH_MAX = 1024
MicroBatch = Annotated[int | Literal["auto"] | None, BeforeValidator(_number_or_auto)]


class SettingsError(Exception):
    """A setting is wrong; the text names the variable and what it may be."""


def state_dir() -> Path:
    """The folder of the local stack; IMAGEFLEET_STATE_DIR or the XDG state folder of the user."""
    default = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "imagefleet"
    return Path(os.environ.get("IMAGEFLEET_STATE_DIR") or default).expanduser().absolute()


class Settings(BaseSettings):
    """Every field is a variable: `image_root` is IMAGEFLEET_IMAGE_ROOT. Lists are separated by commas."""

    model_config = SettingsConfigDict(env_prefix="IMAGEFLEET_", frozen=True, extra="ignore", env_ignore_empty=True)

    # Where things are
    #: Broker, ledger and result backend; `rediss://` for TLS.
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    milvus_uri: str = "http://127.0.0.1:19530"
    #: `user:password` or an API key; empty for none.
    milvus_token: SecretStr = SecretStr("")
    #: The folder that paths in messages are relative to; workers read nothing outside it.
    image_root: Path = Path("/")
    #: Own specifications and ONNX files.
    model_dir: Path = Field(default_factory=lambda: state_dir() / "models")
    #: A copy of the place that catalogued models are pulled from; empty for that place itself.
    model_mirror: str = ""

    # What is asked for where the command line names nothing
    library: Annotated[str, StringConstraints(pattern=LIBRARY_PATTERN, max_length=64)] = "images"
    models: Annotated[tuple[Name, ...], NoDecode] = ("colour", "gradient")

    # The session
    #: Execution providers in order of preference, as ONNX Runtime names them.
    providers: Annotated[tuple[str, ...], NoDecode] = ("CPUExecutionProvider",)
    #: Whether a worker may run on the CPU when the provider asked for is not there.
    cpu_fallback: bool = False
    #: Number of the accelerator, among those that a process sees.
    device_id: int = Field(default=0, ge=0, le=1023)
    #: Bytes of its memory that one session may take; 0 for all there are.
    device_memory: int = Field(default=0, ge=0, lt=2**63)
    #: How cuDNN finds the algorithm of a convolution; the first is slow to start and quick to run.
    cudnn_search: CudnnSearch = "EXHAUSTIVE"
    #: Whether TensorRT may compute in half precision.
    tensorrt_fp16: bool = False
    #: Where TensorRT keeps the engines that it builds.
    tensorrt_cache: Path = Field(default_factory=lambda: state_dir() / "tensorrt")
    #: Threads inside one session run.
    threads: int = Field(default=1, ge=1, le=256)
    #: Images that go through the session together; 0 or `auto` for the size that is measured to be best. By default 16
    #: on the CPU, measured with CUDA, and 32 elsewhere.
    micro_batch: MicroBatch = None
    #: Threads of each process that decode the next micro-batch while the session runs; 0 for none, and by default none
    #: on the CPU, where the cores have work, and as many as cores, 8 at most, elsewhere.
    decode_threads: int | None = Field(default=None, ge=0, le=64)

    # Limits on one image
    #: Pillow formats that are decoded; none that runs another program.
    formats: Annotated[tuple[str, ...], NoDecode] = (
        "JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM",
    )  # fmt: skip
    max_file_bytes: int = Field(default=256 * 2**20, ge=1)
    max_pixels: int = Field(default=128_000_000, ge=1)
    #: Frames or pages, where the header says how many; the first alone is decoded.
    max_frames: int = Field(default=100_000, ge=1)
    #: Seconds after which a picture that is still not decoded ends its process; 0 for never.
    picture_seconds: float = Field(default=30.0, ge=0, le=86_400)
    #: Bytes by which a process may grow while it decodes; 0 for no bound. Linux only.
    picture_memory: int = Field(default=4 * 2**30, ge=0, lt=2**63)

    # Batches
    #: Images in one batch at most; small folders get smaller batches so that every process has work.
    batch_size: int = Field(default=128, ge=1, le=BATCH_MAX)
    #: Batches on the way at once per job; the producer waits above that, which bounds Redis.
    max_open_batches: int = Field(default=2000, ge=1)
    #: Seconds without a sign of life after which a batch is given to another process.
    lease_seconds: int = Field(default=30, ge=2)
    #: Seconds that one batch may take before its process gives it back.
    batch_seconds: int = Field(default=240, ge=5)
    #: Times that a batch is begun before it is split to find the image that breaks it.
    max_attempts: int = Field(default=3, ge=1)
    #: Days that a finished job is remembered.
    job_days: int = Field(default=30, ge=1)
    #: Days that a file which cannot be indexed is not tried again unless it changes; at most twice as many.
    failure_days: int = Field(default=30, ge=1)

    # The store
    metric: Literal["COSINE", "IP", "L2"] = "COSINE"
    index_type: Literal["HNSW", "FLAT", "IVF_FLAT", "AUTOINDEX"] = "HNSW"
    #: Seconds that one request to Milvus may take.
    store_timeout: float = Field(default=15.0, gt=0)
    #: Seconds that a search result can be fetched.
    result_expires: int = Field(default=3600, ge=60)

    # Watching
    #: Whether whoever reaches Redis or Flower may stop workers, change their pools and revoke tasks.
    remote_control: bool = False
    flower_address: str = "127.0.0.1"
    flower_port: int = Field(default=5555, ge=0, le=65535)
    #: `user:password`; required where Flower listens beyond this machine.
    flower_auth: SecretStr = SecretStr("")

    @field_validator("models", "providers", "formats", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("models", "providers", "formats")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("the list is empty")
        return tuple(dict.fromkeys(value))

    @field_validator("image_root", "model_dir", "tensorrt_cache")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().resolve()
        except RuntimeError as error:  # `~` and a name that nobody has
            raise ValueError(str(error)) from None

    @property
    def picture_limits(self) -> tuple[tuple[str, ...], int, int, int, float, int]:
        """What models.opening.Limits takes, in its order.

        Without a bound of memory where another device than the CPU is used: its driver maps memory at any moment.
        """
        memory = self.picture_memory if self.providers == ("CPUExecutionProvider",) else 0
        return (
            self.formats, self.max_file_bytes, self.max_pixels, self.max_frames, self.picture_seconds, memory,
        )  # fmt: skip

    @property
    def device(self) -> Device:
        """What an accelerator is told."""
        return Device(self.device_id, self.device_memory, self.cudnn_search, self.tensorrt_fp16, self.tensorrt_cache)

    @property
    def hard_limit(self) -> int:
        """Seconds after which the process of a batch is killed; the soft limit is `batch_seconds`."""
        return self.batch_seconds + 30

    @property
    def visibility_timeout(self) -> int:
        """Seconds after which Redis hands out an unacknowledged message again (FACTS: at least 5x the hard limit)."""
        return 5 * self.hard_limit

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *args: PydanticBaseSettingsSource, **kwargs: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        stack = JsonConfigSettingsSource(settings_cls, json_file=state_dir() / STACK_FILE)
        return kwargs["init_settings"], kwargs["env_settings"], stack


def load(**overrides: Any) -> Settings:
    """Read the settings; raises SettingsError with one sentence per wrong value."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(" ".join(_sentence(dict(item)) for item in error.errors())) from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(
            f"{state_dir() / STACK_FILE} cannot be read ({error}); remove it and run `imagefleet up`."
        ) from None


def _sentence(item: dict[str, Any]) -> str:
    variable = "IMAGEFLEET_" + str(item["loc"][0] if item["loc"] else "").upper()
    return f"{variable} is wrong: {item['msg']}."
