"""Where the shared pictures and models are: IMAGEFLEET_TEST_DATA, or `../shared/data` beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "IMAGEFLEET_TEST_DATA"
#: Set where absence is a failure instead of a skip.
REQUIRED = "IMAGEFLEET_TEST_DATA_REQUIRED"

_given = os.environ.get(VARIABLE)
DATA = Path(_given) if _given else Path(__file__).parents[2] / "shared" / "data"
IMAGES = DATA / "images"
MODELS = DATA / "models"
GOLDEN = MODELS / "golden_vectors.npz"

if not IMAGES.is_dir() and (_given or os.environ.get(REQUIRED)):
    raise RuntimeError(f"{IMAGES} is not a folder: correct {VARIABLE}, or unset it and {REQUIRED} to skip these tests.")

needs_shared_data = pytest.mark.skipif(
    not IMAGES.is_dir(), reason=f"the shared pictures and models are not at {DATA} (set {VARIABLE})"
)
