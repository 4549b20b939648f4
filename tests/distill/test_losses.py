"""Losses, the watch on a model's inside, and the closed-form start."""

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
pytest.importorskip("transformers", reason="needs veilform[train]")

from veilform.approx.quad import quad  # noqa: E402
from veilform.distill.anatomy import layers  # noqa: E402
from veilform.distill.closed_form import fit_quadratic, fold_ffn, start_student  # noqa: E402
from veilform.distill.losses import (  # noqa: E402
    Bounds,
    attention_loss,
    hidden_loss,
    label_loss,
    logit_loss,
)
from veilform.distill.student import new_student  # noqa: E402
from veilform.distill.watch import Watch  # noqa: E402

MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


def test_padding_counts_in_no_loss():
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 2, 3, 4), torch.randn(2, 2, 3, 4)
    scores, targets = torch.randn(2, 2, 5, 3, 3), torch.randn(2, 2, 5, 3, 3)
    before = hidden_loss(ours, theirs, MASK), attention_loss(scores, targets, MASK)
    ours[:, 0, 2] += 100
    scores[:, 0, :, 2] += 100
    scores[:, 0, :, :, 2] += 100
    assert (hidden_loss(ours, theirs, MASK), attention_loss(scores, targets, MASK)) == before


def test_losses_by_hand():
    ours, theirs = torch.tensor([[[3.0], [1.0]]]), torch.tensor([[[2.0], [2.0]]])
    mask = torch.ones(1, 2, dtype=torch.long)
    assert hidden_loss([ours], [theirs], mask).item() == pytest.approx(1 / 4)
    scores = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert attention_loss([scores], [scores + 2], mask).item() == pytest.approx(4)
    same = torch.tensor([[1.0, -1.0]])
    assert logit_loss(same, same + 5).item() == pytest.approx(0, abs=1e-6)
    p, q = torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5])
    wanted = float((p * (p / q).log()).sum())
    assert logit_loss(q.log()[None], p.log()[None], heat=1.0).item() == pytest.approx(wanted)


def test_regression_and_unlabelled_rows():
    logits = torch.tensor([[1.0], [3.0]])
    assert logit_loss(logits, torch.zeros(2, 1)).item() == 5
    assert label_loss(logits, torch.tensor([1.0, 1.0])).item() == 2
    two = torch.tensor([[0.0, 0.0], [9.0, -9.0]])
    assert label_loss(two, torch.tensor([0, -100])).item() == pytest.approx(0.6931, abs=1e-4)
    assert label_loss(two, torch.tensor([-100, -100])).item() == 0


def test_bounds():
    bounds = Bounds(1.0, 4.0)
    assert float(bounds.penalty(torch.tensor([1.0, 2.0, 4.0])).abs().max()) < 1e-12
    assert float(bounds.penalty(torch.tensor(8.0))) == pytest.approx(0.6931**2, abs=1e-3)
    assert float(bounds.penalty(torch.tensor(0.5))) == pytest.approx(0.6931**2, abs=1e-3)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("attention", ["2quad", "2relu", "softmax"])
def test_watch_sees_every_layer(tiny, family, attention):
    model, batch = tiny.student(family=family, attention=attention), tiny.batch()
    rows, width = batch["input_ids"].shape
    watch = Watch(layers(model))
    model(**batch)
    assert [tuple(s.shape) for s in watch.scores] == [(rows, 4, width, width)] * 2
    for variances in (watch.attention_variances, watch.ffn_variances):
        assert [tuple(v.shape) for v in variances] == [(rows, width)] * 2
    means = watch.row_means(batch["attention_mask"])
    if attention == "softmax":
        assert means == [None, None]
    else:
        assert [tuple(m.shape) for m in means] == [(rows, 4, width)] * 2
    penalty = watch.penalty(batch["attention_mask"])
    assert penalty.item() >= 0
    watch.remove()
    model(**batch)
    assert watch.scores == []


def test_penalty_falls_when_it_is_followed(tiny):
    model, batch = tiny.student(), tiny.batch()
    with torch.no_grad():
        layers(model)[0].key.bias += 30.0
        layers(model)[0].query.bias += 30.0
    watch = Watch(layers(model))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    found = []
    for _ in range(10):
        watch.clear()
        model(**batch)
        penalty = watch.penalty(batch["attention_mask"])
        optimiser.zero_grad()
        penalty.backward()
        optimiser.step()
        found.append(penalty.item())
    assert found[-1] < found[0]


def test_fitted_ffn_is_the_polynomial(tiny):
    torch.manual_seed(0)
    parts = layers(tiny.student())[0]
    x = torch.randn(500, 24) * 2
    p2, p1, p0 = fit_quadratic(x, torch.nn.functional.gelu(x))
    wanted = parts.second(p2 * x**2 + p1 * x + p0)
    before = parts.first.bias.detach().clone()
    fold_ffn(parts, x)
    shift = parts.first.bias.detach() - before
    assert torch.allclose(parts.second(quad(x + shift)), wanted, atol=1e-3)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_closed_form_start_is_nearer_than_substitution(tiny, family):
    teacher, batch = tiny.teacher(family=family), tiny.batch(32)
    plain, started = (new_student(teacher, "quad", "2quad") for _ in range(2))
    start_student(teacher, started, [batch])
    with torch.no_grad():
        target, *ours = (
            m(**batch, output_hidden_states=True).hidden_states[1:]
            for m in (teacher, plain, started)
        )
    raw, folded = (float(hidden_loss(o, target, batch["attention_mask"])) for o in ours)
    assert folded < raw


def test_closed_form_leaves_exact_functions_alone(tiny):
    teacher = tiny.teacher()
    student = new_student(teacher, "gelu,quad", "softmax")
    start_student(teacher, student, [tiny.batch(32)])
    mine, same = layers(student), layers(teacher)
    assert torch.equal(mine[0].second.weight, same[0].second.weight)
    assert not torch.equal(mine[1].second.weight, same[1].second.weight)
    assert torch.equal(mine[1].query.weight, same[1].query.weight)
