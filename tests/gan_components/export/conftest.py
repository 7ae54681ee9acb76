"""One MLflow store for the whole directory: making its database takes seconds. Tests use models of their own."""

from pathlib import Path

import pytest

from gan_components.export.destination import Destination
from tests.gan_components.export import tiny


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def generator(tmp_path_factory) -> Path:
    return tiny.servable(tmp_path_factory.mktemp("generator") / "generator", num_classes=3)


@pytest.fixture
def destination(root, request) -> Destination:
    """A place of its own for each test, named after it."""
    name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)[-60:].strip("_")
    return Destination(
        model_name=name,
        serving_root=root / "serving",
        root=root,
        tracking_uri=f"sqlite:///{root / 'mlflow.db'}",
    )
