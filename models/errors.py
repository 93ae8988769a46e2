"""Everything that can go wrong between the bytes of an image and its vector.

Two branches: an `ImageError` is about one image and becomes an entry in the failure list of its job; a `ModelError` is
about the model or the machine and stops the worker. Neither is ever mistaken for the other.
"""

from __future__ import annotations

from typing import ClassVar


class ModelsError(Exception):
    """Base of all errors of this package; its text is one sentence that says what to do."""


class ImageError(ModelsError):
    """One image cannot be turned into a vector; the text is the reason shown to its owner."""

    #: Failure class, as listed by `imagefleet failures`.
    kind: ClassVar[str] = "unreadable"


class UnreadableImage(ImageError):
    """The bytes are damaged, cut short or contradict themselves."""


class UnsupportedImage(ImageError):
    """The bytes are no picture, or a format that is not on the list of formats."""

    kind = "unsupported"


class ImageTooLarge(ImageError):
    """More bytes, pixels, frames or memory than the limits allow; found before decoding, but for the memory."""

    kind = "too_large"


class NoVector(ImageError):
    """The model finds nothing in this picture that it could turn into a direction: all zeros, or no numbers."""


class TextError(ModelsError):
    """The text of a query cannot be turned into a vector."""


class ModelError(ModelsError):
    """The model cannot be used on this machine as it is."""


class UnknownModel(ModelError):
    """No specification of that name is in the catalogue."""


class InvalidSpec(ModelError):
    """A specification file breaks a rule."""


class InvalidLimits(ModelError):
    """The limits on pictures name a format that there is not."""


class WeightsMissing(ModelError):
    """The specification is known, its ONNX file is not on this machine."""


class WeightsMismatch(ModelError):
    """The ONNX file is not the one that the specification was written for."""


class DownloadFailed(ModelError):
    """A file could not be had; what came of it is kept unless it was the wrong one."""


class ProviderUnavailable(ModelError):
    """The execution provider that was asked for is not the one that would run."""


class InferenceFailed(ModelError):
    """The session refused an input that the specification promised it would take."""


class OutOfDeviceMemory(InferenceFailed):
    """The device has no memory for a run of this size; fewer pictures at once may fit."""


class CheckFailed(ModelError):
    """The model makes other vectors on this machine than its specification says it does."""


class QuantizeRefused(ModelError):
    """The model cannot be quantised as asked; nothing was written."""
