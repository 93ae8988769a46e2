"""One model takes the place of another: compared first, switched, and gone back from."""

from __future__ import annotations

import pytest

from producer.client import ClientError
from tests.fleet import JOB_SECONDS, Fleet
from tests.pictures import draw, draw_many


def test_a_new_model_is_built_beside_the_old_one_and_then_answers_for_it(fleet: Fleet) -> None:
    pictures = draw_many(fleet.root, 30)
    fleet.start("index.colour,index.gradient,search.colour,search.gradient").wait_ready()
    client = fleet.client

    # There is nothing to switch to before it is built
    client.wait(client.index(fleet.root, models=["colour"])[0], JOB_SECONDS)
    with pytest.raises(ClientError, match=r"imagefleet index DIR --model gradient"):
        client.compare("colour", "gradient")

    # Half built, it is seen to be half built, and the old one goes on answering
    (job,) = client.feed(client.walk(pictures[:15]), models=["gradient"])
    client.wait(job, JOB_SECONDS)
    half = client.compare("colour", "gradient")
    assert (half.current_rows, half.new_rows, half.sampled, half.missing) == (30, 15, 30, 15)
    assert client.search(pictures[0], model="colour").model == "colour"

    # Built and switched to, it answers, and is what index requests go to
    client.wait(client.index(fleet.root, models=["gradient"])[0], JOB_SECONDS)
    ready = client.compare("colour", "gradient")
    assert (ready.missing, ready.new_rows) == (0, 30)
    assert ready.overlap is not None
    assert 0 < ready.overlap < 1
    client.switch("colour", "gradient")
    answer = client.search(pictures[4], model="colour", limit=1)
    assert (answer.model, answer.answers[0].hits[0].path) == ("gradient", "004.png")
    draw(fleet.root / "new.png", 900)
    (job,) = client.index(fleet.root, models=["colour"])
    assert (job.model, client.wait(job, JOB_SECONDS).indexed) == ("gradient", 1)

    # A search that does not know of the switch is refused with the command that helps
    client.serving._redis.delete(client.serving._key(fleet.library))
    (lost,) = client.search(pictures[4], model="colour").answers
    assert "imagefleet models switch colour --to NAME" in (lost.error or "")

    # Undone, everything is as before
    client.switch("colour", "gradient")
    assert client.before("colour") == "colour"
    client.switch("colour", "colour")
    assert client.search(pictures[4], model="colour").model == "colour"
    with pytest.raises(ClientError, match="nothing to undo"):
        client.before("colour")
