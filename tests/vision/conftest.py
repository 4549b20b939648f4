"""Tiny pictures whose class is told by where they are bright; a tiny network for them."""

import numpy as np
import pytest

CLASSES, SIDE = 3, 12


def pictures(count, seed):
    """Grey pictures (N, 12, 12): noise, and a bright third of the columns, which is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 60, (count, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 120
    return images.astype(np.uint8), labels


@pytest.fixture(scope="session")
def npz(tmp_path_factory):
    """An NPZ file with 240 pictures to train with and 48 for the test."""
    images, labels = pictures(240, 0)
    test_images, test_labels = pictures(48, 1)
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    np.savez(
        path, images=images, labels=labels, test_images=test_images, test_labels=test_labels
    )  # fmt: skip
    return path
