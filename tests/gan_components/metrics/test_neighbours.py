"""Exact neighbours against brute force in float64, on pixels and features, with copies and ties."""

import numpy as np
import pytest

from gan_components.metrics import neighbours


def brute_force(queries: np.ndarray, references: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    queries, references = (x.reshape(len(x), -1).astype(np.float64) for x in (queries, references))
    distances = np.sqrt(((queries[:, None] - references[None]) ** 2).sum(-1))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


def pixels(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 1), dtype=np.uint8)


def normals(count: int, seed: int) -> np.ndarray:
    return 50 + np.random.default_rng(seed).normal(size=(count, 16))


@pytest.mark.parametrize(("make", "bfloat16"), [(pixels, True), (pixels, False), (normals, True)])
def test_against_brute_force(make, bfloat16, monkeypatch):
    """Red if tiles are joined with wrong offsets. Pixels agree to the bit, sums of normals to rounding.

    Among random pixels all distances are so much alike that bfloat16 decides nothing: red if its floor is ignored,
    or numbers that are not whole go through it.
    """
    monkeypatch.setattr(neighbours, "bfloat16_is_faster", lambda width: bfloat16)
    monkeypatch.setattr(neighbours, "_QUERY_TILE", 64)
    monkeypatch.setattr(neighbours, "_REFERENCE_TILE", 100)
    queries, references = make(150, 0), make(333, 1)
    distances, indices = neighbours.nearest(queries, references, 7)
    expected, order = brute_force(queries, references, 7)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-14)


def test_where_every_tile_holds_nearer_ones(monkeypatch):
    """Nearer rows come last, so that each tile has more below the limit than are picked one by one.

    Red if the partition in their place gives the largest.
    """
    monkeypatch.setattr(neighbours, "_REFERENCE_TILE", 64)
    monkeypatch.setattr(neighbours, "_MOST_BELOW", 1)
    random = np.random.default_rng(0)
    references = random.normal(size=(400, 6)) * np.linspace(9, 1, 400)[:, None]
    queries = 0.1 * random.normal(size=(30, 6))
    _, indices = neighbours.nearest(queries, references, 3)
    np.testing.assert_array_equal(indices, brute_force(queries, references, 3)[1])


def test_images_of_more_numbers_than_a_tile_takes(monkeypatch):
    """One row a tile. Red if the first tile, an eighth of the others, may be empty."""
    monkeypatch.setattr(neighbours, "_TILE_NUMBERS", 100)
    _, indices = neighbours.nearest(pixels(3, 0), pixels(20, 1), 2)
    np.testing.assert_array_equal(indices, brute_force(pixels(3, 0), pixels(20, 1), 2)[1])


def test_copies_are_at_exactly_zero():
    """Red without the re-ranking by differences: the expansion in float32 leaves copies up to 5.7 apart."""
    references = np.random.default_rng(0).integers(0, 256, (300, 3072), dtype=np.uint8)
    queries = references[[5, 250]]
    distances, indices = neighbours.nearest(queries, references, 2)
    assert distances[:, 0].tolist() == [0, 0]
    assert indices[:, 0].tolist() == [5, 250]
    assert (distances[:, 1] > 1000).all()


def test_where_float32_is_too_coarse():
    """Red without the proof by the error bound: two clusters 1e4 apart, points 1e-3 apart inside each.

    Their squared lengths differ by 1e-6 of 1e8: float32 picks candidates at random.
    """
    random = np.random.default_rng(0)
    corners = np.repeat([[0.0], [1e4]], 150, axis=0)
    references = corners + random.normal(scale=1e-3, size=(300, 4))
    queries = references[::50] + 1e-5
    distances, indices = neighbours.nearest(queries, references, 3)
    expected, order = brute_force(queries, references, 3)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)


def test_exclude_self(monkeypatch):
    """Red if a tile's offset is forgotten. Twins find each other at 0, never themselves."""
    monkeypatch.setattr(neighbours, "_QUERY_TILE", 32)
    monkeypatch.setattr(neighbours, "_REFERENCE_TILE", 30)
    rows = np.concatenate([pixels(40, 0), pixels(40, 0)])
    distances, indices = neighbours.nearest(rows, rows, 1, exclude_self=True)
    assert (distances == 0).all()
    np.testing.assert_array_equal(indices[:, 0], np.r_[40:80, 0:40])


def test_few_references():
    """Red if missing candidates count as row -1. All neighbours are found, and no more can be asked for."""
    distances, indices = neighbours.nearest(pixels(3, 0), pixels(4, 1), 4)
    assert sorted(indices[0]) == [0, 1, 2, 3]
    assert np.isfinite(distances).all()
    with pytest.raises(ValueError, match="5 neighbours were asked for among 4"):
        neighbours.nearest(pixels(3, 0), pixels(4, 1), 5)
