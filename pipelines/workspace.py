"""Where a pipeline keeps things: artifacts by fingerprint, caches, run records, locks.

The root is a POSIX file system: its locks and renames are what makes two runs at once, and a run that dies, safe.
"""

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gan_components import locks, object_store
from gan_components.artifacts import MANIFEST, Artifact, Manifest
from gan_components.errors import ArtifactError, InputError
from gan_components.export.destination import Destination
from gan_components.fingerprints import Recipe

_MIN_FREE_BYTES = 512 * 2**20

AnyArtifact = TypeVar("AnyArtifact", bound=Artifact)


@dataclass(frozen=True)
class Workspace:
    """The directories of one root; see the field names.

    Attributes:
        root: ``artifacts/<stage>/<fingerprint>``, ``cache``, ``runs/<run-id>``, ``promotions``.
        serving_root: ``<model>/<version>`` and ``models.config``, as TF Serving reads them.
        tracking_uri: the MLflow server or store.
        serving_address: mirrors the serving root in an object store; None: nowhere.
        server: TF Serving's REST address, if one is to be asked; see ``Destination``.
    """

    root: Path
    serving_root: Path
    tracking_uri: str
    serving_address: str | None = None
    server: str | None = None

    @classmethod
    def at(
        cls,
        root: Path,
        *,
        serving_root: Path | str | None = None,
        tracking_uri: str | None = None,
        server: str | None = None,
    ) -> "Workspace":
        """Names the directories; makes none of them.

        An address as serving root names the mirror of ``ROOT/serving``.
        """
        root = root.absolute()
        address = str(serving_root).rstrip("/") if serving_root and object_store.is_address(serving_root) else None
        directory = Path(serving_root) if serving_root and not address else root / "serving"
        return cls(
            root=root,
            serving_root=directory.absolute(),
            tracking_uri=tracking_uri or f"sqlite:///{root / 'mlflow.db'}",
            serving_address=address,
            server=server,
        )

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def create(self) -> None:
        """Makes the root.

        Raises:
            InputError: it cannot be made or written to.
        """
        for directory in (self.root, self.serving_root):
            probe = directory / ".writable"
            try:
                directory.mkdir(parents=True, exist_ok=True)
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise InputError(
                    f"{directory} cannot be written to ({error.strerror}); choose another with --root or "
                    "--serving-root"
                ) from None

    def require_registry(self) -> None:
        """Raises InputError if the root's own registry is meant and not there: MLflow would make an empty one."""
        database = self.root / "mlflow.db"
        if self.tracking_uri == f"sqlite:///{database}" and not database.exists():
            raise InputError(f"there is no registry below {self.root}; check --root or MLFLOW_TRACKING_URI")

    def destination(self, model_name: str, mlflow_run_id: str | None = None) -> Destination:
        """Where a generator of this root goes."""
        return Destination(
            model_name=model_name,
            serving_root=self.serving_root,
            root=self.root,
            tracking_uri=self.tracking_uri,
            mlflow_run_id=mlflow_run_id,
            serving_address=self.serving_address,
            server=self.server,
        )

    def artifact_path(self, recipe: Recipe) -> Path:
        return self.root / "artifacts" / recipe.stage / recipe.fingerprint

    def run_directory(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def find(
        self, kind: type[AnyArtifact], recipe: Recipe, *, verify: bool = False
    ) -> tuple[AnyArtifact | None, str]:
        """The artifact of `recipe` if it stands there whole, and why or why not in words."""
        path = self.artifact_path(recipe)
        if path.exists():
            try:
                artifact = kind.open(path, verify=verify)
            except ArtifactError as error:
                return None, f"cannot be used: {error}"
            return artifact, f"unchanged since {artifact.manifest.created_at}"
        return None, self._why_not(recipe)

    def _why_not(self, recipe: Recipe) -> str:
        """What differs from the most alike artifact of the stage, and what unfinished work lies there."""
        stage_directory = self.artifact_path(recipe).parent
        others = [
            (len(reasons := recipe.differences(manifest.recipe)), -path.stat().st_mtime, reasons)
            for path in stage_directory.glob("*/manifest.json")
            if not path.parent.name.startswith(".") and (manifest := read_manifest(path.parent)) is not None
        ]
        reason = "; ".join(min(others)[2][:3]) if others else "never made in this root"
        if others and len(min(others)[2]) > 3:
            reason += f"; and {len(min(others)[2]) - 3} more"
        unfinished = [path.name for path in stage_directory.glob(".work-*")]
        if f".work-{recipe.fingerprint}" in unfinished:
            return f"{reason}; unfinished work will be resumed"
        if unfinished:
            reason += f"; unfinished work of other settings or code: {stage_directory / unfinished[0]}"
        return reason

    def lock(self, path: Path) -> AbstractContextManager[None]:
        """Held while an artifact is looked for and made: a second run waits here, then finds it done."""
        return locks.held(path.with_name(f".lock-{path.name}"), f"making {path}")

    def require_free_space(self) -> None:
        """Raises OSError before a stage starts that would fill the disk."""
        free = shutil.disk_usage(self.root).free
        if free < _MIN_FREE_BYTES:
            raise OSError(
                f"only {free // 2**20} MiB are free under {self.root}, at least {_MIN_FREE_BYTES // 2**20} MiB "
                "are needed: free some space and run again, what is done is kept"
            )


def read_manifest(directory: Path) -> Manifest | None:
    """What an artifact says of itself, its files unseen; None if it says nothing that can be read."""
    try:
        return Manifest.model_validate_json((directory / MANIFEST).read_bytes())
    except (OSError, ValueError):  # pydantic's ValidationError is a ValueError
        return None
