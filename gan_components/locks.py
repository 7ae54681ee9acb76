"""Locks between processes: the second waits, and says for what."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_log = logging.getLogger(__name__)


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path`; the same thread may take it again.

    Args:
        path: made if it is not there. The operating system frees the lock when its holder dies.
        what: is happening while it is held, for the message to whoever waits: "another run is `what`".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One object a path: a second one in this process would wait for the first forever.
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("another run is %s; waiting for it", what)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
