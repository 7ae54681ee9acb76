"""The report: one HTML file that explains the verdict, with its pictures inside and no outside reference."""

import base64
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from pydantic import JsonValue

from gan_components import images
from gan_components.evaluation.classes import ByClass
from gan_components.evaluation.gate import Check
from gan_components.evaluation.score import Metric
from gan_components.metrics.memorization import Closest
from gan_components.metrics.memorization_verdict import Report

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_NUM_GRID, _NUM_PAIRS = 100, 32
_PICTURE_PIXELS = 640
_FRAME_LEVEL = 128
_CURVE_WIDTH, _CURVE_HEIGHT = 600, 160
# Curves are drawn by hand, so that the page needs no scripts and equal runs give equal bytes.
_MOST_POINTS = 400


def pictures(
    generated: np.ndarray, train: np.ndarray, closest: Closest, *, training_images: bool
) -> dict[str, bytes]:
    """PNG files by name.

    * ``samples``: the first 100 draws, not chosen;
    * ``closest_pairs``: generated image and nearest training image, side by side, for the 32 lowest
      calibrated scores, each training image once: the worst cases;
    * ``random_pairs``: the same for the first 32 draws, as the GAN paper (2014) shows it in figure 2.

    Args:
        generated: uint8 ``[N, H, W, C]``.
        train: uint8 ``[M, H, W, C]``.
        closest: of the generated images, from the memorization check in pixels.
        training_images: False leaves the pairs out.
    """
    found = {"samples": _png(generated[:_NUM_GRID], columns=10)}
    if training_images:
        order = np.argsort(closest.scores, kind="stable")
        # A generator that repeats itself would fill the panel with one pair.
        _, firsts = np.unique(closest.indices[order], return_index=True)
        worst = order[np.sort(firsts)[:_NUM_PAIRS]]
        for name, rows in (("closest_pairs", worst), ("random_pairs", np.arange(_NUM_PAIRS))):
            pairs = np.concatenate([generated[rows], train[closest.indices[rows]]], axis=2)
            framed = np.pad(pairs, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=_FRAME_LEVEL)
            found[name] = _png(framed, columns=4)
    return found


def render(
    metrics: dict[str, Metric],
    classes: list[ByClass],
    copies: Report,
    checks: list[Check],
    pictures: dict[str, bytes],
    *,
    history: list[dict[str, float]],
    primary: str,
    provenance: dict[str, JsonValue],
) -> str:
    """The page. Everything that is not a number passes through HTML escaping."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        metrics=metrics,
        classes=classes,
        copies=copies,
        checks=checks,
        passed=all(check.passed for check in checks),
        pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
        curves=_curves(history),
        curve_size=(_CURVE_WIDTH, _CURVE_HEIGHT),
        primary=primary,
        provenance=provenance,
    )


def _png(cells: np.ndarray, *, columns: int) -> bytes:
    grid = images.grid(cells, columns)
    return images.png(grid, scale=max(1, round(_PICTURE_PIXELS / grid.shape[1])))


def _curves(history: list[dict[str, float]]) -> list[dict[str, Any]]:
    """One curve for each logged number: the points of an SVG polyline and the range of both axes."""
    curves = []
    for name in sorted({name for line in history for name in line} - {"step"}):
        lines = [line for line in history if name in line]
        lines = lines[:: -(-len(lines) // _MOST_POINTS)]
        steps = np.array([line["step"] for line in lines], np.float64)
        values = np.array([line[name] for line in lines], np.float64)
        x, y = (
            (axis - axis.min()) / (np.ptp(axis) or 1.0) * length
            for axis, length in ((steps, _CURVE_WIDTH), (values, _CURVE_HEIGHT))
        )
        curves.append(
            {
                "name": name,
                "points": " ".join(f"{px:.1f},{_CURVE_HEIGHT - py:.1f}" for px, py in zip(x, y, strict=True)),
                "low": float(values.min()),
                "high": float(values.max()),
                "first_step": int(steps[0]),
                "last_step": int(steps[-1]),
                "last": float(values[-1]),
            }
        )
    return curves
