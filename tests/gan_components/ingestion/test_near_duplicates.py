"""The search that leaves most pairs out finds what comparing each with each finds."""

import numpy as np
import pytest

from gan_components.ingestion import near_duplicates


@pytest.mark.parametrize("channels", [1, 3])
def test_finds_what_brute_force_finds(channels, monkeypatch):
    """Red if the reach is `MAX_DISTANCE` itself instead of that of a sum, or a tile's offset is forgotten.

    Copies differ by up to twice the limit, most of them evenly: a change of brightness is the widest reach.
    """
    monkeypatch.setattr(near_duplicates, "_ROWS_AT_ONCE", 16)
    random = np.random.default_rng(0)
    size = near_duplicates.thumbnail_size(channels)
    originals = random.integers(0, 250, (150, size))
    shifts = random.integers(0, 7, (150, 1)) * np.where(random.random((150, size)) < 0.9, 1, 0)
    thumbnails = np.concatenate([originals, np.minimum(originals + shifts, 255)]).astype(np.uint8)
    held_out = random.random(300) < 0.3
    train, queries = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    differences = thumbnails[queries, None].astype(np.int64) - thumbnails[train]
    distances = np.sqrt((differences**2).mean(2))
    expected = {
        int(row): (int(train[of_row.argmin()]), of_row.min())
        for row, of_row in zip(queries, distances, strict=True)
        if of_row.min() <= near_duplicates.MAX_DISTANCE
    }
    found = near_duplicates.find(thumbnails, held_out, ~held_out)
    assert [row for row, _, _ in found] == sorted(expected)
    assert {row: nearest for row, nearest, _ in found} == {row: nearest for row, (nearest, _) in expected.items()}
    # Sums of integers are exact in float32, its square root is not.
    np.testing.assert_allclose([distance for *_, distance in found], [expected[row][1] for row, *_ in found], 1e-6)
    assert 10 < len(found) < len(queries)


def test_within_a_split_nothing_is_its_own_like(monkeypatch):
    """Red if a row may be its own neighbour, or only one of two that are alike is found."""
    monkeypatch.setattr(near_duplicates, "_ROWS_AT_ONCE", 4)
    thumbnails = np.random.default_rng(0).integers(0, 250, (20, 64)).astype(np.uint8)
    thumbnails[17] = thumbnails[3] + 1
    everything = np.ones(20, np.bool_)
    assert near_duplicates.find(thumbnails, everything, everything) == [(3, 17, 1.0), (17, 3, 1.0)]
