"""What may be asked for. Each test names the one-line change that turns it red."""

import pytest

from gan_components.errors import InputError
from pipelines.outcome import Request


@pytest.mark.parametrize("run_id", ["../other", "/etc", "", ".hidden", "a/b", "a\nb"])
def test_a_run_id_cannot_leave_its_directory(run_id):
    """Red without the pattern: the id becomes a path."""
    with pytest.raises(InputError, match="--run-id"):
        Request(run_id=run_id)


def test_schedulers_run_ids_are_taken():
    """Red if the pattern forgets what Airflow writes."""
    assert Request(run_id="scheduled__2026-11-22T01:00:00+00:00").run_id


def test_stages_end_where_they_are_asked_to():
    """Red if `until` or `only` is not looked at."""
    assert Request().stages == ("ingest", "train", "evaluate", "export")
    assert Request(until="train").stages == Request(only="train").stages == ("ingest", "train")
    with pytest.raises(InputError, match="choose one"):
        Request(until="train", only="train")


def test_a_blessing_needs_a_reason():
    """Red if an empty one goes on record."""
    with pytest.raises(InputError, match="--bless needs a reason"):
        Request(bless=" ")
