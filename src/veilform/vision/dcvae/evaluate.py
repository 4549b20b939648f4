"""How good a model is: of its samples, of its reconstructions, of its latents. Nothing is fetched.

Distances are in the features of the classifier beside this file, so they compare models of
Fashion-MNIST with each other, and not with published figures, which use Inception's features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError
from veilform.vision.dcvae.images import Images

if TYPE_CHECKING:
    from veilform.vision.dcvae.classifier import Classifier
    from veilform.vision.dcvae.model import DCVAE

Rows = NDArray[np.float64]
Labels = NDArray[np.uint8]
RIDGE = 1e-3
_AT_ONCE = 1000


class Scores(NamedTuple):
    """What :func:`evaluate` measures.

    Attributes:
        frechet_samples, frechet_reconstructions: distance from held-out images; of the
            reconstructions' own images.
        pixel_error: root of the mean squared error of reconstructions, pixels in [0, 1].
        feature_error: mean distance of an image and its reconstruction in features.
        retrieval, retrieval_pixels: share of reconstructions whose nearest image, in features and
            in pixels, is the one that they are of.
        gallery: among how many.
        probe: accuracy of a linear classifier of latents on held-out images.
    """

    frechet_samples: float
    frechet_reconstructions: float
    pixel_error: float
    feature_error: float
    retrieval: float
    retrieval_pixels: float
    gallery: int
    probe: float


def frechet(a: Rows, b: Rows) -> float:
    """Squared Frechet distance of two sets of rows, each taken as Gaussian.

    |m - n|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2)). The last trace is that of the root of
    A^(1/2) B A^(1/2), which is symmetric, so its eigenvalues do.

    Source: Heusel et al., arXiv 1706.08500, equation 6.

    Raises:
        InputError: a set has fewer than two rows, or an entry is no number.
    """
    if min(len(a), len(b)) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("a Frechet distance takes two rows or more of each set, all of numbers")
    means = a.mean(0) - b.mean(0)
    one, two = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b))
    half = _root(one)
    crossed = np.linalg.eigvalsh(half @ two @ half)
    traces = np.trace(one) + np.trace(two) - 2 * np.sqrt(np.maximum(crossed, 0)).sum()
    return float(means @ means + max(traces, 0.0))


def _root(matrix: Rows) -> Rows:
    """Of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def retrieval_at_1(queries: Rows, gallery: Rows) -> float:
    """Share of queries whose nearest row of the gallery has their own index.

    Raises:
        InputError: there is none, or not one query for each row.
    """
    if not len(queries) or queries.shape != gallery.shape:
        raise InputError(f"{queries.shape} queries do not fit a gallery of {gallery.shape}")
    lengths, right = (gallery**2).sum(1), 0
    for start in range(0, len(queries), _AT_ONCE):
        part = queries[start : start + _AT_ONCE]
        nearest = (lengths - 2 * part @ gallery.T).argmin(1)
        right += int((nearest == np.arange(start, start + len(part))).sum())
    return right / len(queries)


def linear_probe(train: tuple[Rows, Labels], test: tuple[Rows, Labels]) -> float:
    """Accuracy of ridge regression on one-hot labels, features standardised."""
    rows, labels = train
    mean, deviation = rows.mean(0), rows.std(0) + 1e-8

    def prepared(x: Rows) -> Rows:
        return np.column_stack([(x - mean) / deviation, np.ones(len(x))])

    x = prepared(rows)
    wanted = np.eye(int(labels.max()) + 1)[labels]
    penalty = RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + penalty, x.T @ wanted)
    return float(((prepared(test[0]) @ weights).argmax(1) == test[1]).mean())


def evaluate(
    model: DCVAE,
    classifier: Classifier,
    train: tuple[Images, Labels],
    test: tuple[Images, Labels],
    seed: int = 0,
) -> Scores:
    """All figures of a model: as many samples as held-out images, without truncation."""
    held_out, labels = test
    seen = classifier.features(held_out)
    latents = model.encode(held_out)
    made = model.decode(latents)
    remade = classifier.features(made)
    samples = classifier.features(model.sample(len(held_out), seed=seed))
    difference = (made.astype(np.float64) - held_out) / 255
    pixels, pixels_made = (x.reshape(len(x), -1) / 255.0 for x in (held_out, made))
    probe = linear_probe(
        (model.encode(train[0]).astype(np.float64), train[1]), (latents.astype(np.float64), labels)
    )
    return Scores(
        frechet_samples=frechet(samples, seen),
        frechet_reconstructions=frechet(remade, seen),
        pixel_error=float(np.sqrt((difference**2).mean())),
        feature_error=float(np.linalg.norm(remade - seen, axis=1).mean()),
        retrieval=retrieval_at_1(remade, seen),
        retrieval_pixels=retrieval_at_1(pixels_made, pixels),
        gallery=len(held_out),
        probe=probe,
    )
