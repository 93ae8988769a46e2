"""The self-test of a model that is new here: whether pictures go through it, and come out as they should.

To be called by models.confined, before the model is put among the others.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models import check, golden, graph, graph_rules, weights
from models.encoder import Encoder
from models.errors import CheckFailed, InvalidSpec, ModelError
from models.preprocess import Picture
from models.spec import parse

#: Cosine above which two vectors are the same one.
_SAME: Final = 1 - 1e-6
#: The least between vectors of one picture, alone and with others: what is computed in 8 bits feels its neighbours.
_ALIKE: Final = 0.99
#: Between machines, for floats of 16 bits.
_HALF: Final = 0.999


def run_json(argument: dict[str, Any]) -> dict[str, Any]:
    """Try `file` with `specification`; gives `check`, the reference vectors, and `seconds` for one picture.

    Raises InvalidSpec with what is wrong.
    """
    spec, file = parse(argument["specification"], "the model"), Path(argument["file"])
    data = weights.read(spec, file)
    graph_rules.check(graph.parsed(data), custom_operators=argument["custom_operators"])
    encoder = Encoder(spec, file)
    seconds = try_out(encoder)
    bound = _HALF if spec.input.dtype == "float16" else check.FLOATS
    reference = check.reference(encoder, check.INTEGERS if graph.is_quantised(data) else bound)
    return {"check": reference.model_dump(mode="json"), "seconds": seconds}


def try_out(encoder: Encoder) -> float:
    """Seconds that one picture takes; raises InvalidSpec if the vectors are none, all one, or change by themselves."""
    pictures = [encoder.prepare(data) for data in golden.pictures()]
    alone = _alone(encoder, pictures)
    begin = time.perf_counter()
    again = _alone(encoder, pictures)
    seconds = (time.perf_counter() - begin) / len(pictures)
    if not (alone * again).sum(axis=1).min() >= _SAME:
        raise InvalidSpec("The model makes another vector of the same picture each time; export it for inference.")
    others = (alone @ alone.T)[~np.eye(len(alone), dtype=bool)]
    if others.max() >= _SAME:
        raise InvalidSpec("The model makes the same vector of different pictures; choose another tensor by --feature.")
    if not (alone * _together(encoder, pictures)).sum(axis=1).min() >= _ALIKE:
        raise InvalidSpec("A picture has another vector when others are beside it; choose another tensor by --feature.")
    return seconds


def _alone(encoder: Encoder, pictures: list[Picture]) -> NDArray[np.float32]:
    return np.stack([_vectors(encoder, [picture])[0] for picture in pictures])


def _together(encoder: Encoder, pictures: list[Picture]) -> NDArray[np.float32]:
    try:
        return _vectors(encoder, pictures)
    except ModelError as error:
        raise InvalidSpec(
            f"The model takes one picture, but not {len(pictures)} at once, although its batch axis is free ({error}); "
            "export it with a batch axis that is truly free, or is 1."
        ) from None


def _vectors(encoder: Encoder, pictures: list[Picture]) -> NDArray[np.float32]:
    vectors = [vector for vector in encoder.encode(pictures) if isinstance(vector, np.ndarray)]
    if len(vectors) < len(pictures):
        raise CheckFailed("The model makes no vector of an ordinary picture: all zeros, or no numbers; get another.")
    return np.stack(vectors)
