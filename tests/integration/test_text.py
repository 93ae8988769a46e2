"""Searching by words: through Redis, workers and Milvus, with a two-tower model trained on the spot."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.encoder import Encoder
from models.errors import TextError, WeightsMismatch
from models.spec import ModelSpec, read
from models.text import TextEncoder
from producer.client import ClientError
from tests.fleet import JOB_SECONDS, Fleet
from tests.two_tower import COLOURS, NAME, SHAPES, build, render

#: Pictures of each colour and shape.
EACH = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("two-tower")
    build(made)
    return made


@pytest.fixture
def spec(folder: Path) -> ModelSpec:
    return read(folder / f"{NAME}.toml")


def test_words_find_what_they_say_through_the_whole_fleet(fleet: Fleet, folder: Path) -> None:
    # Given pictures of all colours and shapes, none of which the model was trained on
    chance = random.Random(99)
    for colour in COLOURS:
        for shape in SHAPES:
            for number in range(EACH):
                file = fleet.root / f"{colour}-{shape}-{number}.png"
                file.write_bytes(render(colour, shape, chance))
    fleet.options["model_dir"] = folder
    fleet.start(f"index.{NAME},search.{NAME},search.colour").wait_ready()
    client = fleet.client
    (job,) = client.index(fleet.root, models=[NAME])
    assert client.wait(job, JOB_SECONDS).indexed == EACH * len(COLOURS) * len(SHAPES)

    # When they are asked for in words
    asked = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    answers = client.search(text=[f"a {words}" for words in asked], model=NAME, limit=EACH).answers

    # Then what is found is what was asked for
    right = Counter[str]()
    for words, answer in zip(asked, answers, strict=True):
        assert answer.query == f"a {words}"
        right[words] = sum(hit.path.startswith(words.replace(" ", "-")) for hit in answer.hits)
    assert all(right[words] >= EACH - 2 for words in asked), right
    assert right.total() >= 0.9 * EACH * len(asked), right

    # And a model that reads nothing says so
    (answer,) = client.search(text="red circle", model="colour").answers
    assert "holds nothing" in (answer.error or "")
    with pytest.raises(ClientError, match="1 to 1000 characters"):
        client.search(text=" ", model=NAME)


def test_texts_and_pictures_share_one_space(folder: Path, spec: ModelSpec) -> None:
    reader, encoder = TextEncoder(spec, folder), Encoder(spec, folder / spec.file)
    (picture,) = encoder.encode([encoder.prepare(render("blue", "square", random.Random(5)))])
    assert isinstance(picture, np.ndarray)
    near, far = reader.encode("Blue SQUARE"), reader.encode("red circle")
    assert np.linalg.norm(near) == pytest.approx(1, abs=1e-6)
    assert picture @ near > 0.8 > picture @ far


def test_a_long_text_is_cut_and_one_of_unknown_words_has_no_meaning(folder: Path, spec: ModelSpec) -> None:
    reader = TextEncoder(spec, folder)
    np.testing.assert_allclose(reader.encode("red circle " + "a " * 50), reader.encode("red circle"), atol=1e-6)
    with pytest.raises(TextError, match="no meaning"):
        reader.encode("xyzzy")


def test_a_tokenizer_that_is_not_the_models_is_refused(tmp_path: Path, folder: Path, spec: ModelSpec) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "words.json").write_text("{}")
    with pytest.raises(WeightsMismatch, match=r"words.json"):
        TextEncoder(spec, tmp_path)
