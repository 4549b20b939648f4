"""Metrics against values worked out by hand or by their definitions."""

import numpy as np
import pytest

from veilform.distill.metrics import accuracy, f1, matthews, pearson, scores, spearman

# Two true positives, one false positive, three true negatives, two false negatives.
PREDICTED = np.array([1, 1, 1, 0, 0, 0, 0, 0])
TRUTH = np.array([1, 1, 0, 0, 0, 0, 1, 1])


def test_two_classes_by_hand():
    assert accuracy(PREDICTED, TRUTH) == 5 / 8
    assert f1(PREDICTED, TRUTH) == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))
    assert matthews(PREDICTED, TRUTH) == pytest.approx((2 * 3 - 1 * 2) / np.sqrt(3 * 4 * 4 * 5))


def test_three_classes_by_hand():
    predicted, truth = np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])
    assert f1(predicted, truth) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    # Gorodkin: (c s - sum p_k t_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)), s = 4, c = 3.
    assert matthews(predicted, truth) == pytest.approx((3 * 4 - 5) / np.sqrt((16 - 6) * (16 - 6)))


def test_one_class_predicted():
    zeros = np.zeros(5, int)
    assert f1(zeros, np.array([0, 1, 0, 1, 1])) == 0
    assert matthews(zeros, np.array([0, 1, 0, 1, 1])) == 0


def test_correlations():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert pearson(x, 3 * x - 7) == pytest.approx(1)
    assert pearson(x, -x) == pytest.approx(-1)
    assert pearson(x, np.ones(4)) == 0
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    assert spearman([1, 2, 2, 3], [10, 20, 30, 40]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_against_the_covariance_matrix():
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_scores_of_logits():
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    assert scores(("accuracy", "f1"), logits, [0, 1, 1]) == {"accuracy": 2 / 3, "f1": 2 / 3}
    assert scores(("pearson",), logits[:, :1], [2.0, 0.0, 1.0]) == {"pearson": pytest.approx(1)}
