"""Students of every family: the functions are the registry's, per layer too, and survive saving."""

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
transformers = pytest.importorskip("transformers", reason="needs veilform[train]")

from veilform.approx import registry  # noqa: E402
from veilform.distill import anatomy, packed  # noqa: E402
from veilform.distill.student import (  # noqa: E402
    Student,
    build_model,
    freeze_embeddings,
    load_model,
    new_student,
    per_layer,
    student_config,
)
from veilform.errors import ModelError  # noqa: E402

FAMILIES = ("bert", "roberta", "distilbert")


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def by_hand(model, batch):
    """A BERT student's logits by the formulas, mean-pooled."""
    config, visible = model.config, batch["attention_mask"][:, None, None, :].float()
    x = model.bert.embeddings(batch["input_ids"])
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
    weight = batch["attention_mask"].unsqueeze(-1).float()
    return model.classifier((x * weight).sum(1) / weight.sum(1))


def test_quad_and_two_quad_are_in_use(tiny):
    model, batch = tiny.student(), tiny.batch()
    with torch.no_grad():
        assert torch.allclose(logits(model, batch), by_hand(model, batch), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_softmax_teacher_is_the_stock_model(tiny, family, tmp_path):
    """With gelu and softmax installed, a model computes what Transformers alone computes."""
    model, batch = tiny.teacher(family=family), tiny.batch()
    if family == "bert":
        model = tiny.teacher(family=family, pooling=None)
    model.save_pretrained(tmp_path)
    stock = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.allclose(logits(stock, batch), logits(model, batch), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["2quad", "2relu"])
def test_padding_changes_nothing(tiny, family, attention):
    model, batch = tiny.student(family=family, attention=attention), tiny.batch()
    count = int(batch["attention_mask"][0].sum())
    alone = {name: value[:1, :count] for name, value in batch.items()}
    assert count < batch["input_ids"].shape[1]
    assert torch.allclose(logits(model, batch)[:1], logits(model, alone), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_students_come_back(tiny, family, tmp_path):
    teacher, batch = tiny.teacher(family=family), tiny.batch()
    student = new_student(teacher, "quad,relu", "2quad,softmax")
    assert per_layer(student.config) == (["quad", "relu"], ["2quad", "softmax"])
    Student(student).save_pretrained(tmp_path)
    again = Student.from_pretrained(tmp_path).model
    assert per_layer(again.config) == per_layer(student.config)
    assert torch.equal(logits(again, batch), logits(student, batch))
    assert not torch.allclose(logits(again, batch), logits(teacher, batch), atol=1e-3)
    names = [parts.attention.attention_entry.name for parts in anatomy.layers(again)]
    assert names == ["2quad", "softmax"]


def test_stock_loading_with_a_registered_function(tiny, tmp_path):
    """Transformers alone loads a student whose layers are alike, given the function's name."""
    student = new_student(tiny.teacher(pooling=None), "quad", "2quad")
    student.save_pretrained(tmp_path)
    stock = transformers.BertForSequenceClassification.from_pretrained(
        tmp_path, attn_implementation="2quad"
    ).eval()
    batch = tiny.batch()
    assert torch.allclose(logits(stock, batch), logits(student, batch), atol=1e-6)


def test_every_function_of_the_registry_trains(tiny):
    acts = [e.name for e in registry.ENTRIES.values() if isinstance(e, registry.Activation)]
    attentions = [e.name for e in registry.ENTRIES.values() if isinstance(e, registry.Attention)]
    pairs = [(act, "softmax") for act in acts] + [("gelu", name) for name in attentions]
    for act, attention in pairs:
        model = tiny.student(act=act, attention=attention)
        model(**tiny.batch()).logits.sum().backward()
        weight = anatomy.layers(model)[0].query.weight
        assert bool(torch.isfinite(weight.grad).all()), (act, attention)
        assert float(weight.grad.abs().sum()) > 0, (act, attention)


def test_wrong_names_and_lists_are_refused(tiny):
    config = tiny.config()
    with pytest.raises(ModelError, match="quadratic"):
        student_config(config, "quadratic", "2quad")
    with pytest.raises(ModelError, match="3 names for 2 layers"):
        student_config(config, "quad,quad,quad", "2quad")
    with pytest.raises(ModelError, match="'gpt2' are not supported"):
        build_model(transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9))


def test_a_student_has_no_dropout_and_frozen_embeddings(tiny):
    student = new_student(tiny.teacher(hidden_dropout_prob=0.1), "quad", "2quad")
    freeze_embeddings(student)
    assert student.config.hidden_dropout_prob == 0
    frozen = [name for name, p in student.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(".embeddings." in name for name in frozen)


def test_packed_folders_hold_exactly_what_was_rounded(tiny, tmp_path):
    model = tiny.student()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    packed.round_embeddings(model)
    packed.save(model, tmp_path)
    again = load_model(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert torch.equal(logits(model, tiny.batch()), logits(again, tiny.batch()))


def test_rows_requantise_to_themselves():
    torch.manual_seed(0)
    weight = torch.randn(40, 16) * torch.logspace(-3, 0, 40)[:, None]
    rows, scale = packed.quantise_rows(weight)
    again, scale_again = packed.quantise_rows(packed.dequantise_rows(rows, scale))
    assert torch.equal(rows, again)
    assert torch.equal(scale, scale_again)
