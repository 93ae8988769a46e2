"""What is installed, and what it is installed from."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "workers", "producer")
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built from a copy of the tree and without the network."""
    tree = tmp_path_factory.mktemp("tree")
    skipped = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "build", "dist")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    build = [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", str(tree / "out"), str(tree)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (file,) = (tree / "out").glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


def test_the_wheel_holds_every_module(wheel: zipfile.ZipFile) -> None:
    here = {str(file.relative_to(ROOT)) for name in PACKAGES for file in (ROOT / name).rglob("*.py")}
    loose = {name for name in here if not (ROOT / name).with_name("__init__.py").exists()}
    assert here - loose <= set(wheel.namelist())


def test_the_wheel_holds_the_models_that_ship(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    specifications = {f"models/catalog/{file.name}" for file in (ROOT / "models" / "catalog").glob("*.toml")}
    built_in = {f"models/builtin/{file.name}" for file in (ROOT / "models" / "builtin").glob("*.onnx")}
    assert specifications
    assert built_in
    assert specifications | built_in <= names


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_is_never_uploaded_and_says_its_licence(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_string(wheel.read(name).decode())
    assert "Private :: Do Not Upload" in metadata.get_all("Classifier", [])
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "imagefleet = producer.cli:main" in wheel.read(name).decode()


def pinned(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_a_hash_for_everything_and_an_address_for_nothing(lock: Path) -> None:
    blocks = re.split(r"^(?=\S)", lock.read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pinned(lock)) > 10
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?:|//|@|--(extra-)?index|--find-links|--trusted", lock.read_text())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_all_locks_agree_with_the_one_that_is_tested(lock: Path) -> None:
    tested = pinned(ROOT / "requirements" / "dev.txt")
    ours = pinned(lock)
    assert {name: ours[name] for name in ours.keys() & tested.keys()} == {
        name: tested[name] for name in ours.keys() & tested.keys()
    }


def test_the_producer_needs_no_heavy_package() -> None:
    heavy = {
        "numpy",
        "onnx",
        "onnxruntime",
        "onnxruntime-gpu",
        "pillow",
        "pymilvus",
        "milvus-lite",
        "pandas",
        "faiss-cpu",
    }
    assert not heavy & pinned(ROOT / "requirements" / "producer.txt").keys()


def test_the_build_backend_comes_with_hashes_too() -> None:
    for lock in LOCKS:
        assert int(pinned(lock)["setuptools"].split(".")[0]) >= 80


def test_every_dependency_of_the_project_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(line for extra in ("worker", "cpu", "local", "flower", "dev") for line in optional[extra]),
    ]
    names = {re.split(r"[\[<>=;! ]", line)[0].lower() for line in wanted} - {"imagefleet"}
    assert names <= pinned(ROOT / "requirements" / "dev.txt").keys()
