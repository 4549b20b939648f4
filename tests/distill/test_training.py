"""Storage round trip, the closed-form start and the training steps on tiny random models."""

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
pytest.importorskip("transformers", reason="needs veilform[train] (transformers)")

from veilform.distill.calibrate import fit_quadratic, fold_ffn, start_student  # noqa: E402
from veilform.distill.export import SCALE, WORDS, load_student, save_student  # noqa: E402
from veilform.distill.loop import Plan, fit, rate  # noqa: E402
from veilform.distill.losses import hidden_loss, logit_loss  # noqa: E402
from veilform.distill.quant import (  # noqa: E402
    dequantise_rows,
    quantise_rows,
    round_embeddings,
    round_encoder,
)
from veilform.distill.student import freeze_embeddings, quad  # noqa: E402


class OneBatch:
    """Stands for Encoded: the same batch once per epoch."""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return 1

    def epoch_rows(self, _size, _seed, _epoch):
        return [[0]]

    def collate(self, _rows):
        return self.batch


def test_rows_requantise_to_themselves():
    torch.manual_seed(0)
    rows, scale = quantise_rows(torch.randn(40, 16) * torch.logspace(-3, 0, 40)[:, None])
    again, scale_again = quantise_rows(dequantise_rows(rows, scale))
    assert torch.equal(rows, again)
    assert torch.equal(scale, scale_again)


def test_save_load_is_bit_exact(tiny, tmp_path):
    from safetensors.torch import load_file

    model = tiny.student()
    round_embeddings(model)
    round_encoder(model)
    save_student(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored[WORDS].dtype == torch.int8
    assert stored[SCALE].dtype == torch.float16
    assert stored[SCALE].shape == (stored[WORDS].shape[0], 1)
    again = load_student(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    config = again.config
    assert (config.hidden_act, config.softmax_act, config.pooling) == ("quad", "2quad", "mean")
    assert config.architectures == ["BertMeanPoolForSequenceClassification"]
    batch = tiny.batch()
    with torch.no_grad():
        assert torch.equal(model(batch.ids, batch.mask).logits, again(batch.ids, batch.mask).logits)


def test_fitted_ffn_is_the_polynomial(tiny):
    torch.manual_seed(0)
    layer = tiny.student().bert.encoder.layer[0]
    x = torch.randn(500, 24) * 2
    p2, p1, p0 = fit_quadratic(x, torch.nn.functional.gelu(x))
    wanted = layer.output.dense(p2 * x**2 + p1 * x + p0)
    before = layer.intermediate.dense.bias.detach().clone()
    fold_ffn(layer, x)
    shift = layer.intermediate.dense.bias.detach() - before
    assert torch.allclose(layer.output.dense(quad(x + shift)), wanted, atol=1e-3)


def test_closed_form_start_is_nearer_than_substitution(tiny):
    teacher, plain, started, batch = tiny.teacher(), tiny.student(), tiny.student(), tiny.batch(32)
    plain.load_state_dict(teacher.state_dict())
    start_student(teacher, started, [batch])
    with torch.no_grad():
        target, *ours = (
            m(batch.ids, batch.mask, output_hidden_states=True).hidden_states[1:]
            for m in (teacher, plain, started)
        )
        raw, folded = (float(hidden_loss(o, target, batch.mask)) for o in ours)
    assert folded < raw


def test_step_decreases_distillation_loss(tiny):
    teacher, student, batch = tiny.teacher(), tiny.student(1), tiny.batch()
    trainable = freeze_embeddings(student)
    frozen = {k: v.clone() for k, v in student.bert.embeddings.state_dict().items()}
    optimiser = torch.optim.AdamW(trainable, lr=1e-3)

    def loss():
        with torch.no_grad():
            target = teacher(batch.ids, batch.mask, output_hidden_states=True)
        out = student(batch.ids, batch.mask, output_hidden_states=True)
        return hidden_loss(
            out.hidden_states[1:], target.hidden_states[1:], batch.mask
        ) + logit_loss(out.logits, target.logits)

    first = loss()
    first.backward()
    optimiser.step()
    assert loss().item() < first.item()
    for name, tensor in student.bert.embeddings.state_dict().items():
        assert torch.equal(tensor, frozen[name])


def test_interrupted_run_resumes_to_the_same_weights(tiny, tmp_path):
    def run(folder, *epochs):
        for resume, count in enumerate(epochs):
            model = tiny.student()
            freeze_embeddings(model)

            def loss_of(batch, model=model):
                return model(batch.ids, batch.mask, labels=batch.labels).loss, {}

            calls = []

            def score(calls=calls, stop=count):
                calls.append(1)
                if len(calls) > stop:
                    raise KeyboardInterrupt
                return {"score": float(len(calls))}

            plan = Plan(epochs=4, lr=1e-2, bf16=False)
            try:
                fit(model, OneBatch(tiny.batch()), loss_of, score, plan, folder, bool(resume))
            except KeyboardInterrupt:
                continue
        return model.state_dict()

    whole, parts = run(tmp_path / "a", 4), run(tmp_path / "b", 2, 4)
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name


def test_rate_rises_then_falls():
    values = [rate(step, 100, 0.1) for step in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == pytest.approx(1.0)
    assert values[-1] < 0.05
