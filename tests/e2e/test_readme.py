"""The README names what is there. Each test names the one-line change that turns it red."""

import re
from pathlib import Path

from typer.main import get_command

from pipelines import config
from pipelines.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_command_and_preset_named_exists():
    """Red if a command is renamed and the README is not."""
    commands = set(get_command(app).commands)
    named = set(re.findall(r"gan-pipelines (\w+)", README))
    assert named <= commands
    presets = set(re.findall(r"gan-pipelines (?:run|plan) (\w+)", README)) - {"CONFIG"}
    assert presets <= set(config.presets())


def test_every_target_named_is_in_the_makefile():
    """Red if a make target is renamed and a document is not."""
    makefile = (ROOT / "Makefile").read_text()
    documents = README + (ROOT / "CONTRIBUTING.md").read_text() + (ROOT / ".ci" / "run").read_text()
    for targets in re.findall(r"make ((?:demo|test|test-all|check|bench|docs)\b(?: \w+)*)", documents):
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets.split())


def test_the_tree_in_the_readme_is_the_tree():
    """Red if a room is added, renamed or removed and the README's tree is not."""
    tree = README.split("## The house")[1].split("```")[1]
    for package in ("pipelines", "gan_components"):
        for path in (ROOT / package).iterdir():
            if path.name.startswith("__"):
                continue
            assert path.name in tree, f"{package}/{path.name} is missing in the README's tree"


def test_pictures_and_links_exist():
    """Red if a file that the README shows is not committed."""
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_nothing_is_left_to_fill_in():
    """Red if a placeholder survives."""
    variables = {"GAN_PIPELINES_ROOT", "GAN_PIPELINES_SERVER", "TF_CONFIG"}
    assert not set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", README)) - variables
