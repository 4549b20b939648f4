"""Quad and 2Quad against their formulas, inside and outside the Transformers model."""

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
pytest.importorskip("transformers", reason="needs veilform[train] (transformers)")

from veilform.distill.losses import Bounds, RangeProbe  # noqa: E402
from veilform.distill.student import quad, two_quad  # noqa: E402


def reference_two_quad(scores, mask):
    out = torch.zeros_like(scores)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in scores.shape[:-1])):
        b, h, i = index.tolist()
        e = [
            (float(s) + 5.0) ** 2 * float(m) for s, m in zip(scores[b, h, i], mask[b], strict=True)
        ]
        out[b, h, i] = torch.tensor([x / sum(e) for x in e])
    return out


def test_quad_formula():
    x = torch.linspace(-9, 9, 181, dtype=torch.float64)
    assert torch.allclose(quad(x), x**2 / 8 + x / 4 + 0.5, atol=1e-12)


def test_two_quad_formula_and_mask():
    torch.manual_seed(0)
    scores = 3 * torch.randn(2, 3, 5, 5)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    got = two_quad(scores, mask[:, None, None, :])
    assert torch.allclose(got, reference_two_quad(scores, mask), atol=1e-6)
    assert torch.equal(got[0, :, :, 3:], torch.zeros(3, 5, 2))
    assert torch.allclose(got.sum(-1), torch.ones(2, 3, 5))


def test_padding_does_not_change_logits(tiny):
    model = tiny.student()
    batch = tiny.batch()
    with torch.no_grad():
        together = model(batch.ids, batch.mask).logits
        count = int(batch.mask[0].sum())
        alone = model(batch.ids[:1, :count]).logits
    assert count < batch.ids.shape[1]
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_model_matches_plain_formulas(tiny):
    """The registered functions are the ones in use: a by-hand forward pass agrees."""
    model, batch = tiny.student(), tiny.batch()
    config, visible = model.config, batch.mask[:, None, None, :].float()
    with torch.no_grad():
        x = model.bert.embeddings(batch.ids)
        for layer in model.bert.encoder.layer:
            attention = layer.attention.self
            q, k, v = (
                m(x).unflatten(-1, (config.num_attention_heads, -1)).transpose(1, 2)
                for m in (attention.query, attention.key, attention.value)
            )
            e = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + 5) ** 2 * visible
            mixed = (e / e.sum(-1, keepdim=True) @ v).transpose(1, 2).flatten(2)
            x = layer.attention.output.LayerNorm(layer.attention.output.dense(mixed) + x)
            u = layer.intermediate.dense(x)
            x = layer.output.LayerNorm(layer.output.dense(u**2 / 8 + u / 4 + 0.5) + x)
        weight = batch.mask.unsqueeze(-1).float()
        expected = model.classifier((x * weight).sum(1) / weight.sum(1))
        got = model(batch.ids, batch.mask).logits
    assert torch.allclose(got, expected, atol=1e-5)


def test_range_probe_and_bounds(tiny):
    model, batch = tiny.student(), tiny.batch()
    probe = RangeProbe(model)
    with torch.no_grad():
        model(batch.ids, batch.mask)
    layers = model.config.num_hidden_layers
    assert [len(v) for v in probe.variances.values()] == [layers, layers]
    shape = (len(batch.ids), model.config.num_attention_heads, batch.ids.shape[1])
    assert [tuple(m.shape) for m in probe.row_means] == [shape] * layers
    assert float(probe.penalty(batch.mask)) >= 0.0
    probe.remove()
    inside = Bounds(1.0, 4.0).penalty(torch.tensor([1.0, 2.0, 4.0]))
    assert float(inside.abs().max()) < 1e-12
    assert float(Bounds(1.0, 4.0).penalty(torch.tensor(8.0))) > 0
