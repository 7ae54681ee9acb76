"""The images of a run that lie in an object store: mirrored below the root, and still called by their address."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gan_components.artifacts import Progress, no_progress
from gan_components.errors import InputError
from gan_components.fingerprints import digest_json
from gan_components.ingestion import spans
from gan_components.ingestion.config import IngestConfig
from gan_components.object_mirror import mirror
from gan_components.object_store import is_address
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class LocalData:
    """What stages read, and what people call it.

    Attributes:
        given: ``--data``.
        path: the same, or the mirror of an address; None if the source is built in.
    """

    given: str | None
    path: str | None

    @contextmanager
    def errors_name_it(self) -> Iterator[None]:
        """Lets an InputError name the address, not the mirror that nobody asked for."""
        try:
            yield
        except InputError as error:
            if self.path == self.given:
                raise
            raise type(error)(str(error).replace(str(self.path), str(self.given))) from error


def localize(
    data: str | None,
    config: IngestConfig,
    workspace: Workspace,
    *,
    refresh: bool,
    progress: Progress = no_progress,
) -> LocalData:
    """Copies what is new at an address to this machine; any other `data` stays as it is.

    Of a pattern of spans only those are copied that the run reads.

    Args:
        data: ``--data``.
        config: the ``ingest`` section.
        workspace: below whose root the mirror lies.
        refresh: False: a complete mirror is taken as it is.
        progress: told of the copies.

    Raises:
        InputError: the address cannot be read, or the source takes none.
    """
    if data is None or not is_address(data) or config.source in ("digits", "stacked_digits"):
        return LocalData(data, data)
    if config.tfds_name:
        raise InputError(
            f"{data} is an address, and what ingest.tfds_name names lies in a directory that TensorFlow Datasets "
            "writes to; give a directory, or the address of one prepared data set without ingest.tfds_name"
        )
    workspace.create()
    fixed = spans.fixed_part(data) if config.source == "image_folder" else data
    if fixed == data:
        path = mirror(data, workspace.cache, refresh=refresh, progress=progress)
        return LocalData(data, str(path))
    window = config.spans.model_dump(mode="json") if config.spans else None
    path = mirror(
        fixed,
        workspace.cache,
        choose=functools.partial(spans.choose, data, spans=config.spans),
        choice=digest_json([data, window]),
        refresh=refresh,
        progress=progress,
    )
    return LocalData(data, f"{path}{data[len(fixed) :]}")
