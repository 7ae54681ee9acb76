"""``python -m pipelines`` is ``gan-pipelines``."""

from pipelines.cli import main

main()
