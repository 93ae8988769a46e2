"""The models that can be pulled: what their specifications say, and that graphs like theirs go through."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from models.download import files
from models.encoder import CPU, Encoder, open_session
from models.errors import InvalidSpec, WeightsMissing
from models.opening import Limits
from models.preprocess import prepare
from models.spec import CATALOG, ModelSpec, catalogue, find, parse
from models.weights import locate, read
from tests.data import MODELS, needs_shared_data
from tests.graphs import TRUE
from tests.pictures import draw

PULLED = [spec for spec in catalogue().values() if not spec.builtin]
#: What each entry promises: a tensor of the graph in tests.graphs, how it is pooled, and how long the vector is.
PROMISED = {
    "clip-vit-b32": ("image_embeds", "none", 512),
    "efficientnet-lite4": ("efficientnet-lite4/model/head/Squeeze:0", "none", 1280),
    "mobilenetv2": ("472", "none", 1280),
    "mobilenetv2-int8": ("464_QuantizeInput", "none", 1280),
    "resnet101-v2": ("resnetv25_flatten0_reshape0", "none", 2048),
    "resnet18-v2": ("resnetv22_flatten0_reshape0", "none", 512),
    "resnet50-v1": ("flatten_473", "none", 2048),
    "resnet50-v1-int8": ("resnetv17_pool1_fwd_QuantizeInput", "none", 2048),
    "resnet50-v2": ("resnetv24_flatten0_reshape0", "none", 2048),
    "squeezenet1.1": ("squeezenet0_dropout0_fwd", "mean", 512),
    "vgg16": ("vgg0_pool4_fwd", "max", 512),
    "vgg16-fc2": ("flatten_70", "none", 4096),
    "vgg16-int8": ("vgg0_pool4_fwd_QuantizeInput", "max", 512),
    "vgg19": ("vgg0_pool4_fwd", "max", 512),
    "vgg19-fc2": ("flatten_82", "none", 4096),
}
#: Weights that graphs of tests.graphs do not store: VGG's first dense layer, and 11 of 12 layers of the transformer.
_DENSE, _LAYERS = 25088 * 4096, 11 * (12 * 768**2 + 13 * 768)
#: Bytes of them.
NOT_STORED = {"clip-vit-b32": 4 * _LAYERS, "vgg16-int8": _DENSE} | dict.fromkeys(
    ("vgg16", "vgg16-fc2", "vgg19", "vgg19-fc2"), 4 * _DENSE
)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def test_the_catalogue_holds_what_it_promises() -> None:
    assert {spec.name for spec in PULLED} == set(TRUE) == set(PROMISED)


@needs_shared_data
def test_checksums_and_sizes_are_those_that_the_model_zoo_publishes() -> None:
    lines = (MODELS / "onnx-zoo-sha256.tsv").read_text(encoding="utf-8").splitlines()
    published = {path: (sha256, int(size)) for path, sha256, size in (line.split("\t") for line in lines)}
    for spec in PULLED:
        if spec.name != "clip-vit-b32":
            assert spec.download is not None
            path = spec.download.url.removeprefix("onnxmodelzoo/legacy_models/resolve/main/")
            assert (spec.sha256, spec.download.bytes) == published[path]
            assert path.endswith(f"/{spec.file}")
            assert path in spec.source


def test_every_file_of_an_entry_can_be_pulled() -> None:
    for spec in PULLED:
        assert all(wanted.url for wanted in files(spec))
    assert [wanted.file for wanted in files(find("clip-vit-b32"))] == [
        "clip-vit-b32-vision.onnx",
        "clip-vit-b32-text.onnx",
        "clip-vit-b32-tokenizer.json",
    ]


def test_entries_of_one_file_agree_on_it() -> None:
    assert len({(spec.file, spec.sha256, spec.download) for spec in PULLED}) == len({spec.file for spec in PULLED})


def test_a_model_that_is_not_here_says_how_to_pull_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"resnet50-v1-12\.onnx, .*; run `imagefleet models pull resnet50-v1`"):
        locate(find("resnet50-v1"), tmp_path)


def test_a_file_whose_checksum_is_not_recorded_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "clip-vit-b32-vision.onnx").touch()
    spec = find("clip-vit-b32", tmp_path)
    with pytest.raises(WeightsMissing, match=r"No checksum of .* run `imagefleet models pull clip-vit-b32`"):
        read(spec, locate(spec, tmp_path))


# --- what goes in


@pytest.mark.parametrize("spec", PULLED, ids=lambda spec: spec.name)
def test_a_grey_picture_becomes_the_numbers_that_the_model_was_trained_on(spec: ModelSpec, tmp_path: Path) -> None:
    # Given a picture of one grey
    file = tmp_path / "grey.ppm"
    file.write_bytes(b"P6 300 260 255\n" + bytes([100]) * 300 * 260 * 3)

    # When it is prepared
    array = prepare(file.read_bytes(), spec, Limits()).array

    # Then each channel has the one number that the paper or the README gives for it
    means, deviations = CLIP if spec.name.startswith("clip") else IMAGENET
    wanted = [(100 / 255 - mean) / deviation for mean, deviation in zip(means, deviations, strict=True)]
    if spec.name == "efficientnet-lite4":
        assert array.shape == (224, 224, 3)
        wanted = [(100 - 127) / 128] * 3
        array = array.transpose(2, 0, 1)
    assert array.shape == (3, 224, 224)
    np.testing.assert_allclose(array.reshape(3, -1), np.repeat([wanted], 224 * 224, 0).T, atol=1e-5)


# --- what comes out


@pytest.mark.parametrize("spec", PULLED, ids=lambda spec: spec.name)
def test_a_graph_of_the_true_architecture_gives_the_vector_of_the_entry(spec: ModelSpec, tmp_path: Path) -> None:
    # Given a file of the architecture, with as many weights as the true one
    model = TRUE[spec.name]()
    file = tmp_path / spec.file
    file.write_bytes(model.SerializeToString())
    assert spec.download is not None
    assert file.stat().st_size + NOT_STORED.get(spec.name, 0) == pytest.approx(spec.download.bytes, rel=0.02)

    # When two pictures go through it
    here = spec.model_copy(update={"sha256": hashlib.sha256(file.read_bytes()).hexdigest()})
    encoder = Encoder(here, file)
    pictures = [encoder.prepare(draw(tmp_path / f"{n}.png", n, 300).read_bytes()) for n in (1, 2)]
    vectors = encoder.encode(pictures)

    # Then their vectors differ, and one is what the whole graph computes for the tensor that the entry promises
    tensor, pool, dimension = PROMISED[spec.name]
    wanted = pooled(uncut(model, tensor, pictures[0].array), pool)
    assert spec.feature.dimension == len(wanted) == dimension
    first, second = (np.asarray(vector) for vector in vectors)
    np.testing.assert_allclose(first, wanted / np.linalg.norm(wanted), atol=1e-4)
    assert not np.allclose(first, second, atol=1e-3)


def uncut(model: onnx.ModelProto, tensor: str, picture: NDArray[Any]) -> NDArray[np.float32]:
    """The tensor for one picture, computed by the whole graph."""
    model.graph.output.append(helper.make_empty_tensor_value_info(tensor))
    session = open_session(model.SerializeToString(), [CPU], 1)
    found: NDArray[np.float32] = session.run([tensor], {session.get_inputs()[0].name: picture[None]})[0]
    return found


def pooled(features: NDArray[np.float32], pool: str) -> NDArray[np.float32]:
    """[1, C, H, W] or [1, C] to [C]."""
    cells = features.reshape(features.shape[1], -1)
    if pool == "none":
        return cells.ravel()
    return cells.max(1) if pool == "max" else cells.mean(1)


# --- where it comes from


CLIP_DOCUMENT = tomllib.loads((CATALOG / "clip-vit-b32.toml").read_text(encoding="utf-8"))


def without(table: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def test_the_address_does_not_change_the_fingerprint() -> None:
    document = tomllib.loads((CATALOG / "resnet50-v1.toml").read_text(encoding="utf-8"))
    moved = document | {"download": {"url": "https://elsewhere.example/model.onnx"}}
    same = {parse(each, "mine").fingerprint for each in (document, moved, without(document, "download"))}
    assert len(same) == 1


@pytest.mark.parametrize("url", ["../up", "a/../up", "/absolute", "http://host/plain", "file:///etc/passwd", "", "a b"])
def test_an_address_is_https_or_a_path_below_the_home(url: str) -> None:
    with pytest.raises(InvalidSpec, match=r"download\.url"):
        parse(CLIP_DOCUMENT | {"download": {"url": url}}, "mine")


@pytest.mark.parametrize(
    "document",
    [
        without(CLIP_DOCUMENT, "download"),
        CLIP_DOCUMENT | {"text": without(CLIP_DOCUMENT["text"], "download")},
        CLIP_DOCUMENT | {"text": without(CLIP_DOCUMENT["text"], "tokenizer_download")},
    ],
)
def test_a_checksum_of_first_use_needs_an_address(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match="'first-use' needs an address"):
        parse(document, "mine")
