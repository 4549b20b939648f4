"""Tiny random models and batches; torch is imported only when a test asks for them."""

from types import SimpleNamespace

import pytest

VOCABULARY = 50


@pytest.fixture
def tiny():
    """``student(seed)``, ``teacher(seed)`` and ``batch(rows, width)``; row 0 has padding."""
    torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
    pytest.importorskip("transformers", reason="needs veilform[train] (transformers)")
    from transformers import BertConfig

    from veilform.distill import data, student

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "max_position_embeddings": 16,
        "initializer_range": 0.2,
    }

    def model(config, seed):
        torch.manual_seed(seed)
        return student.BertMeanPoolForSequenceClassification(config).eval()

    def make_teacher(seed=0):
        return model(student.teacher_config(BertConfig(**sizes)), seed)

    def make_student(seed=0):
        config = student.student_config(student.teacher_config(BertConfig(**sizes)))
        return model(config, seed)

    def make_batch(rows=6, width=9):
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(1, VOCABULARY, (rows, width), generator=generator)
        lengths = [width - 3 + i if i < 3 else width for i in range(rows)]
        mask = torch.stack([(torch.arange(width) < n).long() for n in lengths])
        return data.Batch(ids * mask, mask, torch.arange(rows) % 2)

    return SimpleNamespace(teacher=make_teacher, student=make_student, batch=make_batch)
