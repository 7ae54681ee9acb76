"""The promotion log outlives crashes and answers without heavy imports."""

import logging
import multiprocessing
import subprocess
import sys

import pytest

from gan_components.errors import ArtifactError
from gan_components.export import promotions
from gan_components.export.promotions import Promotion


def promotion(to_version: int, *, digest: str = "a", value: float = 1.0, protocol: str = "fd5k") -> Promotion:
    return Promotion(
        when=promotions.now(),
        who="ci@host",
        model="digits",
        from_version=to_version - 1 or None,
        to_version=to_version,
        registry_version=str(to_version),
        generator_digest=digest,
        model_fingerprint="m",
        evaluation_fingerprint="e",
        metric="fd_pixels",
        protocol=protocol,
        extractor="pixels",
        value=value,
        why="test",
    )


def test_reads_what_was_appended(tmp_path):
    """Red if `best` ignores the protocol or `pushed` gives the first record instead of the last."""
    assert promotions.read_all(tmp_path, "digits") == []
    assert promotions.highest_version(tmp_path, "digits") == 0
    records = [
        promotion(1, value=3.0),
        promotion(3, digest="b", value=2.0),
        promotion(2, value=0.5, protocol="kid"),
    ]
    for record in records:
        promotions.append(tmp_path, record)
    assert promotions.read_all(tmp_path, "digits") == records
    assert promotions.pushed(tmp_path, "digits", "a") == records[2]
    assert promotions.pushed(tmp_path, "digits", "c") is None
    assert promotions.best(tmp_path, "digits", protocol="fd5k", extractor="pixels") == 2.0
    assert promotions.best(tmp_path, "digits", protocol="fd5k", extractor="other") is None
    assert promotions.highest_version(tmp_path, "digits") == 3


@pytest.mark.parametrize("torn", [b'{"when": "2026-', promotion(2).model_dump_json().encode()])
def test_a_torn_last_line_is_told_and_dropped(tmp_path, caplog, torn):
    """Red if `_split` takes a last line without its newline for a record, or `append` does not truncate it."""
    promotions.append(tmp_path, promotion(1))
    path = promotions.log_path(tmp_path, "digits")
    with path.open("ab") as file:
        file.write(torn)
    with caplog.at_level(logging.WARNING):
        assert [p.to_version for p in promotions.read_all(tmp_path, "digits")] == [1]
    assert "unfinished last line" in caplog.text
    promotions.append(tmp_path, promotion(3))
    assert [p.to_version for p in promotions.read_all(tmp_path, "digits")] == [1, 3]


def test_a_damaged_line_is_an_error(tmp_path):
    """Red if damaged records are skipped: the history would lie."""
    promotions.append(tmp_path, promotion(1))
    path = promotions.log_path(tmp_path, "digits")
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(ArtifactError, match="line 1 is not a promotion record"):
        promotions.read_all(tmp_path, "digits")


def test_the_lock_excludes_processes_but_not_its_own_thread(tmp_path):
    """Red without `is_singleton`: the second acquisition in this thread would wait for ever."""
    with promotions.lock(tmp_path, "digits"), promotions.lock(tmp_path, "digits"):
        context = multiprocessing.get_context("spawn")
        other = context.Process(target=_hold, args=(tmp_path,))
        other.start()
        other.join(3)
        waited = other.is_alive()
    other.join(30)
    assert waited
    assert other.exitcode == 0


def _hold(root):
    with promotions.lock(root, "digits"):
        pass


def test_settings_and_the_log_need_no_heavy_library():
    """Red if a module that `plan` imports takes TensorFlow, MLflow or the protos with it."""
    code = (
        "import sys\n"
        "from gan_components.export import config, destination, errors, mlflow_environment, promotions\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'tensorflow_serving', 'apache_beam', 'sklearn', 'matplotlib'}\n"
        "sys.exit(str(heavy & set(sys.modules) or ''))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.stderr.strip() == ""
