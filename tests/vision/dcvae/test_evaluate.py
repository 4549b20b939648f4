"""Figures of known sets: Gaussians, permuted galleries, separable labels."""

import numpy as np
import pytest
from tests.vision.dcvae.tiny import pictures, tiny, torch

from veilform.errors import InputError, ModelError
from veilform.vision import fashion
from veilform.vision.dcvae import classifier
from veilform.vision.dcvae.evaluate import evaluate, frechet, linear_probe, retrieval_at_1
from veilform.vision.dcvae.model import DCVAE

del torch


def rows_with(mean, covariance, count=400, seed=0):
    """Rows whose sample mean and covariance are exactly these."""
    raw = np.random.default_rng(seed).normal(size=(count, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def test_frechet_of_axes_by_hand():
    """Of independent entries: squared differences of means and of deviations."""
    a = rows_with(np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    b = rows_with(np.array([0.0, 4.0]), np.diag([1.0, 16.0]), seed=1)
    assert frechet(a, b) == pytest.approx((1 + 4) + (2 - 1) ** 2 + (3 - 4) ** 2)


def test_frechet_of_correlated_gaussians():
    """Against tr((A B)^(1/2)) by the eigenvalues of A B itself."""
    random = np.random.default_rng(3)
    one, two = (x @ x.T + np.eye(5) for x in random.normal(size=(2, 5, 5)))
    a, b = rows_with(np.zeros(5), one), rows_with(np.ones(5), two, seed=2)
    crossed = np.sqrt(np.linalg.eigvals(one @ two).real).sum()
    assert frechet(a, b) == pytest.approx(5 + np.trace(one) + np.trace(two) - 2 * crossed)
    assert frechet(a, b) == pytest.approx(frechet(b, a))
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_flat_sets_and_of_none():
    flat = np.column_stack([np.arange(5.0), np.zeros(5)])
    assert frechet(flat, flat + np.array([0, 3])) == pytest.approx(9)
    for wrong in (flat[:1], np.full((3, 2), np.nan)):
        with pytest.raises(InputError, match="two rows"):
            frechet(flat, wrong)


def test_retrieval_counts_own_images_alone():
    gallery = np.random.default_rng(0).normal(size=(2500, 8))
    assert retrieval_at_1(gallery + 1e-3, gallery) == 1
    swapped = gallery.copy()
    swapped[[3, 1800]] = swapped[[1800, 3]]
    assert retrieval_at_1(swapped, gallery) == 1 - 2 / 2500
    with pytest.raises(InputError, match="do not fit"):
        retrieval_at_1(gallery[:3], gallery)


def test_a_probe_learns_what_is_linear():
    random = np.random.default_rng(0)
    rows = random.normal(size=(600, 6))
    labels = (rows @ random.normal(size=(6, 3))).argmax(1).astype(np.uint8)
    train, test = (rows[:400], labels[:400]), (rows[400:], labels[400:])
    assert linear_probe(train, test) > 0.85
    shuffled = random.permutation(labels[:400])
    assert linear_probe((rows[:400], shuffled), test) < 0.55


@pytest.fixture(scope="module")
def held_out():
    try:
        fashion.folder()
    except InputError as error:
        pytest.skip(str(error))
    images, labels = fashion.padded("test")
    return images[:300], labels[:300]


def test_the_shipped_classifier(held_out, tmp_path):
    model = classifier.load()
    assert classifier.WEIGHTS.stat().st_size < 1 << 20
    assert model.accuracy(*held_out) > 0.87
    features = model.features(held_out[0])
    assert features.shape == (300, classifier.FEATURES)
    with pytest.raises(InputError, match="grey images of 32 x 32"):
        model.features(pictures(2))
    with pytest.raises(ModelError, match="is missing"):
        classifier.load(tmp_path / "none.safetensors")
    classifier.save(model, tmp_path / "again.safetensors")
    again = classifier.load(tmp_path / "again.safetensors")
    np.testing.assert_array_equal(again.features(held_out[0]), features)


def test_a_classifier_learns(held_out):
    made = classifier.train(*held_out, epochs=4)
    assert made.accuracy(*held_out) > 0.2, "chance is a tenth"


def test_a_model_is_scored(held_out):
    """Half of the images against the others is what a perfect generator would get."""
    model = DCVAE(tiny(size=32))
    scores = evaluate(model, classifier.load(), held_out, held_out)
    features = classifier.load().features(held_out[0])
    assert scores.frechet_samples > 5 * frechet(features[:150], features[150:])
    assert scores.gallery == 300
    assert 0 <= scores.retrieval < 0.1
    assert 0 < scores.pixel_error < 1
    assert scores.probe > 0.1
