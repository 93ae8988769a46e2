"""`imagefleet models add`, as its users run it: on good files, on odd ones, and on ones that mean harm."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from models import golden
from models.encoder import Encoder
from models.errors import WeightsMismatch
from models.spec import ModelSpec, find, read
from tests import own_graphs
from tests.acceptance.command import START, Command
from tests.adding import add, is_as_it_was, refused
from tests.data import GOLDEN, IMAGES, MODELS, needs_shared_data
from tests.fleet import JOB_SECONDS, Fleet
from tests.own_graphs import SIDE, outside, saved
from tests.pictures import draw_many


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where models are kept; not there yet."""
    return tmp_path / "state" / "models"


@pytest.fixture
def imagefleet(tmp_path: Path, folder: Path) -> Command:
    return Command(tmp_path, {"IMAGEFLEET_STATE_DIR": str(folder.parent)})


def vectors(spec: ModelSpec, folder: Path) -> np.ndarray:
    encoder = Encoder(spec, folder / spec.file)
    return np.stack(encoder.encode([encoder.prepare(data) for data in golden.pictures()]))  # type: ignore[arg-type]


# --- good files


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "key", "distance"),
    [
        ("mobilenetv2-12-fp32", "mobilenetv2-12-fp32", 1e-4),
        ("mobilenetv2-12-qdq", "mobilenetv2-12-qdq", 1e-2),
        ("squeezenet1.1-fp32", "squeezenet1.1-fp32", 1e-4),
    ],
)
def test_a_real_model_makes_the_vectors_that_it_should(
    imagefleet: Command, folder: Path, name: str, key: str, distance: float
) -> None:
    # Given a real file and nothing but its true preprocessing
    add(imagefleet, MODELS / name / f"{name}.onnx", "--yes", "--preprocess", "imagenet")

    # When pictures are encoded, then their vectors are those that were made without imagefleet
    spec = find(name, folder)
    encoder = Encoder(spec, folder / spec.file)
    with np.load(GOLDEN) as reference:
        paths, expected = reference["paths"], reference[key]
    pictures = [encoder.prepare((IMAGES / str(path)).read_bytes()) for path in paths]
    found = np.stack(encoder.encode(pictures))  # type: ignore[arg-type]
    assert 1 - (found * expected).sum(axis=1).min() < distance


@pytest.mark.parametrize(
    ("build", "options", "feature", "dimension"),
    [
        (own_graphs.resnet, [], "pool", 8),
        (own_graphs.resnet, ["--pool", "max"], "relu1", 8),
        (own_graphs.resnet, ["--feature", "relu0", "--pool", "none"], "relu0", 2048),
        (lambda: own_graphs.resnet([4, 3, SIDE, SIDE]), [], "pool", 8),
        (own_graphs.vgg, [], "fc1_relu", 30),
        (own_graphs.keras, ["--preprocess", "keras-caffe"], "pool", 8),
        (own_graphs.keras, ["--preprocess", "keras-tf", "--pool", "max"], "relu", 8),
        (lambda: own_graphs.keras(top=False), ["--preprocess", "keras-tf"], "map", 8),
        (own_graphs.squeezenet, [], "relu", 8),
        (own_graphs.half, [], "vector", 8),
        (own_graphs.vit, ["--size", "32"], "token", 12),
        (own_graphs.clip, ["--size", "32x32"], "image_embeds", 6),
    ],
)
def test_every_usual_kind_of_graph_can_be_added_and_used(
    imagefleet: Command,
    tmp_path: Path,
    folder: Path,
    build: Callable[[], ModelProto],
    options: list[str],
    feature: str,
    dimension: int,
) -> None:
    add(imagefleet, saved(build(), tmp_path), "--yes", *options)
    spec = find("own", folder)
    assert (spec.feature.tensor, spec.feature.dimension) == (feature, dimension)
    assert vectors(spec, folder).shape == (3, dimension)


def test_a_map_is_pooled_over_its_places_whatever_the_input_s_layout(
    imagefleet: Command, tmp_path: Path, folder: Path
) -> None:
    # Given the same layers with the channels first and last outside, both with the channels first inside
    file = saved(own_graphs.keras(), tmp_path)
    add(imagefleet, file, "--yes", "--preprocess", "unit", "--feature", "pool", "--name", "pooled-by-the-graph")
    add(imagefleet, file, "--yes", "--preprocess", "unit", "--feature", "relu", "--name", "pooled-by-us")

    # When one is pooled by the graph and one by the encoder, then the vectors are the same
    by_graph, by_us = (find(f"pooled-by-{who}", folder) for who in ("the-graph", "us"))
    assert (by_us.feature.pool, by_us.feature.layout) == ("mean", "NCHW")
    assert vectors(by_us, folder) == pytest.approx(vectors(by_graph, folder), abs=1e-6)


def test_what_it_found_and_assumed_is_said(imagefleet: Command, tmp_path: Path, folder: Path) -> None:
    said = add(imagefleet, saved(own_graphs.clip(), tmp_path), "--yes")
    assert "own.onnx takes pictures of 224 x 224 pixels, float32, NCHW, any number at once." in said
    assert "It takes any size; 224 x 224 is assumed, --size N changes it." in said
    assert "1  image_embeds  6" in said
    assert "clip (a guess: nothing beside the file says it; --preprocess changes it)" in said
    assert f"Wrote {folder / 'own.toml'}; the fingerprint is {find('own', folder).fingerprint}." in said
    assert "imagefleet up --model own" in said
    assert "celery -A workers.app worker -Q index.own,search.own" in said
    assert "imagefleet index DIR --model own" in said


def test_the_preprocessing_beside_the_file_is_taken(imagefleet: Command, tmp_path: Path, folder: Path) -> None:
    # Given a download of Hugging Face
    download = tmp_path / "My_ViT v2"
    file = saved(own_graphs.vit(), download / "onnx", "model.onnx")
    config = {"image_processor_type": "ViTImageProcessor", "size": {"height": 40, "width": 48}, "resample": 3,
              "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]}  # fmt: skip
    (download / "preprocessor_config.json").write_text(json.dumps(config))

    # When it is added, then size and numbers are those of the file, and the name is that of the folder
    said = add(imagefleet, file, "--yes")
    spec = find("my-vit-v2", folder)
    assert (spec.input.height, spec.input.width) == (40, 48)
    assert (spec.preprocess.resize, spec.preprocess.interpolation) == ("exact", "bicubic")
    assert (spec.preprocess.mean, spec.preprocess.std) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert "as preprocessor_config.json says" in said
    assert "assumed" not in said

    # And where the file fits another model, that is said
    other = saved(own_graphs.resnet(), download, "other.onnx")
    assert "32 pixels high, not 40; leave out --size. Give --preprocess" in refused(imagefleet, other, "--yes")
    add(imagefleet, other, "--yes", "--preprocess", "unit")


def test_words_and_ways_to_resize_are_kept(imagefleet: Command, tmp_path: Path, folder: Path) -> None:
    words = ("--title", 'Mein "Netz"\\ für Ü', "--licence", "MIT", "--source", "ours")
    file = saved(own_graphs.resnet(), tmp_path)
    add(imagefleet, file, "--yes", *words, "--resize", "exact", "--resize-to", "40", "--interpolation", "lanczos")
    spec = find("own", folder)
    assert (spec.title, spec.licence, spec.source) == ('Mein "Netz"\\ für Ü', "MIT", "ours")
    assert (spec.preprocess.resize, spec.preprocess.resize_to, spec.preprocess.interpolation) == (
        "exact",
        40,
        "lanczos",
    )
    assert "one line" in refused(imagefleet, file, "--yes", "--name", "other", "--title", "a\nb")
    assert "at least the input's height" in refused(imagefleet, file, "--yes", "--name", "other", "--resize-to", "16")


def test_weights_in_other_files_come_along(imagefleet: Command, tmp_path: Path, folder: Path) -> None:
    # Given the same model with its weights inside and outside
    add(imagefleet, saved(own_graphs.resnet(), tmp_path), "--yes", "--name", "inside")
    apart = tmp_path / "apart"
    add(imagefleet, outside(own_graphs.resnet(), apart, "data/weights.bin"), "--yes", "--name", "outside")
    shutil.rmtree(apart)

    # When both are used, then their vectors are the same
    spec = find("outside", folder)
    assert [part.file for part in spec.external] == ["data/weights.bin"]
    assert np.array_equal(vectors(spec, folder), vectors(find("inside", folder), folder))

    # And the fingerprint is of the weights too, and other weights are refused
    others = spec.model_copy(update={"external": (spec.external[0].model_copy(update={"sha256": "0" * 64}),)})
    assert others.fingerprint != spec.fingerprint
    weights = (folder / spec.file).parent / "data" / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsMismatch):
        Encoder(spec, folder / spec.file)


def test_the_model_is_used_as_every_other(fleet: Fleet, imagefleet: Command, tmp_path: Path, folder: Path) -> None:
    add(imagefleet, outside(own_graphs.resnet(), tmp_path / "apart", "model.onnx.data"), "--yes", "--name", "mine")
    pictures = draw_many(fleet.root, 12)
    fleet.options["model_dir"] = folder
    fleet.start("index.mine,search.mine").wait_ready()
    (job,) = fleet.client.index(fleet.root, models=["mine"])
    assert fleet.client.wait(job, JOB_SECONDS).indexed == 12
    (answer,) = fleet.client.search(pictures[5], model="mine", limit=1).answers
    assert answer.hits[0].path == "005.png"


# --- asking


def test_where_nobody_is_there_to_ask_it_says_what_to_give(imagefleet: Command, tmp_path: Path, folder: Path) -> None:
    file = saved(own_graphs.resnet(), tmp_path)
    sentence = refused(imagefleet, file)
    assert "add --yes to take the proposal, or --feature pool and --preprocess imagenet" in sentence
    assert is_as_it_was(folder)
    add(imagefleet, file, "--feature", "pool", "--preprocess", "imagenet")


def test_a_model_of_keras_is_not_guessed_at(imagefleet: Command, tmp_path: Path, folder: Path) -> None:
    assert "keras-caffe or keras-tf" in refused(imagefleet, saved(own_graphs.keras(), tmp_path), "--yes")
    assert is_as_it_was(folder)


def test_whoever_is_there_is_asked(imagefleet: Command, tmp_path: Path, folder: Path) -> None:
    # Given somebody at a terminal
    file = saved(own_graphs.vgg(), tmp_path)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*START, "models", "add", str(file)],
        stdin=theirs, stdout=subprocess.PIPE, cwd=tmp_path, env=imagefleet.environment(),
    )  # fmt: skip
    os.close(theirs)

    # When the third tensor, a preset and yes are answered, then that is what is kept
    os.write(ours, b"9\n3\nkeras-caffe\ny\n")
    said = process.communicate(timeout=120)[0].decode()
    os.close(ours)
    assert process.returncode == 0, said
    spec = find("own", folder)
    assert (spec.feature.tensor, spec.feature.pool, spec.preprocess.channels) == ("pool", "max", "BGR")


# --- names


def test_the_same_again_changes_nothing_and_another_must_say_so(
    imagefleet: Command, tmp_path: Path, folder: Path
) -> None:
    file = saved(own_graphs.resnet(), tmp_path)
    add(imagefleet, file, "--yes")
    before = {path: path.read_bytes() for path in folder.iterdir()}

    # The same again
    assert "own is here already" in add(imagefleet, file, "--yes")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before

    # Another of the same name
    other = saved(own_graphs.squeezenet(), tmp_path)
    sentence = refused(imagefleet, other, "--yes")
    assert "imagefleet models switch own --to NAME" in sentence
    assert {path: path.read_bytes() for path in folder.iterdir()} == before

    # Instead of it: the old ONNX file stays for whoever has it open
    old = find("own", folder).fingerprint
    assert "restart its workers and index again" in add(imagefleet, other, "--yes", "--replace")
    new = read(folder / "own.toml")
    assert new.fingerprint != old
    assert new.file != "own.onnx"
    assert (folder / "own.onnx").read_bytes() == before[folder / "own.onnx"]
    assert vectors(new, folder).shape == (3, 8)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("colour", "ships with imagefleet"), ("../up", "small letters"), ("A", "small letters"), ("x" * 65, "64 at most")],
)
def test_a_name_that_will_not_do_is_refused(
    imagefleet: Command, tmp_path: Path, folder: Path, name: str, reason: str
) -> None:
    file = saved(own_graphs.resnet(), tmp_path)
    assert reason in refused(imagefleet, file, "--yes", "--name", name)
    assert is_as_it_was(folder)
