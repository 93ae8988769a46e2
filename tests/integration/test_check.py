"""A real worker whose model makes other vectors than its specification says."""

from __future__ import annotations

from models import check, spec_file
from models.encoder import Encoder
from tests.fleet import READY_SECONDS, Fleet
from tests.pictures import draw_many
from tests.tiny_models import tiny
from tests.waiting import wait_until


def test_it_ends_with_a_sentence_before_it_takes_a_task(fleet: Fleet) -> None:
    # Given a model with the reference vectors of other pictures, and work for it
    models = fleet.folder / "models"
    models.mkdir()
    model = tiny(models)
    spec_file.write(model.spec, models / "tiny.toml")
    right = check.reference(Encoder(*model))
    check.record(models / "tiny.toml", right.model_copy(update={"vectors": right.vectors[::-1]}))
    fleet.options["model_dir"] = models
    draw_many(fleet.root, 3)
    (job,) = fleet.client.index(fleet.root, models=["tiny"])

    # When a worker starts
    worker = fleet.start("index.tiny")
    wait_until(lambda: worker.process.poll() is not None, READY_SECONDS, "the worker ending")

    # Then it has said why, and done nothing
    assert "This worker cannot work: tiny on CPUExecutionProvider makes other vectors than it should" in worker.text
    assert "Traceback" not in worker.text
    assert fleet.client.status(job).indexed == 0
