"""The losses against values computed by hand, and what they must not depend on."""

import math

import numpy as np
import pytest
from tests.vision.dcvae.tiny import torch

from veilform.vision.dcvae import losses


def test_hinge_by_hand():
    real, sampled, made = (torch.tensor(x) for x in ([2.0, 0.5], [-3.0, 0.0], [1.0, -0.5]))
    # (0 + 0.5) / 2 for real; half of (0 + 1) / 2 and of (2 + 0.5) / 2 for both made ones.
    assert float(losses.hinge(real, sampled, made)) == pytest.approx(0.25 + 0.25 + 0.625)
    assert float(losses.deceive(sampled, made)) == pytest.approx(-(-1.5 + 0.25) / 2)


def test_divergence_by_hand():
    mean = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    spread = torch.tensor([[0.0, 0.0], [0.0, math.log(4)]])
    wanted = (0 + (1 + 4 + 0 + 4 - 1 - math.log(4)) / 2) / 2
    assert float(losses.divergence(mean, spread)) == pytest.approx(wanted)


def test_errors_are_sums_over_an_image():
    a, b = torch.zeros(2, 3, 2, 2), torch.ones(2, 3, 2, 2)
    assert float(losses.squared_error(a, b)) == 12
    assert float(losses.feature_error(a, b)) == 3


def test_info_nce_by_hand():
    query, key = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    queue = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    logits = [0.6 / 0.5, 0.0, -1.0 / 0.5]
    wanted = -logits[0] + math.log(sum(map(math.exp, logits)))
    assert float(losses.info_nce(query, key, queue, 0.5)) == pytest.approx(wanted)
    blind = losses.info_nce(torch.zeros(1, 2), key, queue, 0.5)
    assert float(blind) == pytest.approx(math.log(3)), "features that tell nothing"


def test_info_nce_is_the_same_for_batches_of_any_size():
    torch.manual_seed(0)
    query, key, queue = (torch.nn.functional.normalize(torch.randn(n, 8)) for n in (12, 12, 40))
    whole = losses.info_nce(query, key, queue, 0.07)
    for parts in (2, 3, 12):
        pieces = zip(query.chunk(parts), key.chunk(parts), strict=True)
        mean = torch.stack([losses.info_nce(q, k, queue, 0.07) for q, k in pieces]).mean()
        assert float(mean) == pytest.approx(float(whole), rel=1e-5)


def test_a_queue_overwrites_the_oldest():
    queue = losses.Queue(5, 1)
    assert torch.allclose(queue.keys.abs(), torch.ones(5, 1)), "unit vectors, though random"
    pushed = start = 10  # more than any random entry
    for count in (2, 2, 2, 5, 1, 13):
        keys = torch.arange(pushed, pushed + count, dtype=torch.float32)[:, None]
        queue.push(keys)
        pushed += count
        kept = min(pushed - start, 5)
        last = np.arange(pushed - kept, pushed)
        assert sorted(queue.keys[:, 0].tolist())[-kept:] == last.tolist()
        for key in last:
            assert float(queue.keys[int(key - start) % 5]) == key
    assert int(queue.at) == (pushed - start) % 5
