"""Specifications for tests: of the real models in the shared data, and of models that do not exist."""

from __future__ import annotations

from models.spec import FeatureSpec, InputSpec, ModelSpec, PreprocessSpec


def tiny_spec(name: str = "tiny", dimension: int = 8, sha256: str = "0" * 64) -> ModelSpec:
    """A model of few dimensions that has no file; another `sha256` is another fingerprint."""
    return ModelSpec(
        name=name,
        title="A test's model",
        licence="Apache-2.0",
        source="a test",
        file="tiny.onnx",
        sha256=sha256,
        input=InputSpec(tensor="x", height=4, width=4),
        preprocess=PreprocessSpec(resize="exact"),
        feature=FeatureSpec(tensor="y", dimension=dimension),
    )
