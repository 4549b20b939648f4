"""Tiny random models and batches; torch is imported only when a test asks for them."""

import json
import random
from types import SimpleNamespace

import pytest

WORDS = ("good", "bad", "fine", "dull", "film", "plot", "very", "not", "a", "the")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = len(SPECIAL) + len(WORDS)


def make_tokenizer():
    """A word-level BERT tokenizer of a few words."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def texts(count, seed):
    """Texts whose label is told by one word: (text, 1) with "good", (text, 0) with "bad"."""
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        label = generator.randint(0, 1)
        words = [generator.choice(WORDS[4:]) for _ in range(generator.randint(1, 8))]
        words.insert(generator.randint(0, len(words)), "good" if label else "bad")
        found.append((" ".join(words), label))
    return found


@pytest.fixture
def files(tmp_path):
    """train.jsonl and dev.jsonl in a folder, labels "neg" and "pos"."""
    for name, count in (("train", 64), ("dev", 24)):
        rows = [
            json.dumps({"text": text, "label": ("neg", "pos")[label]})
            for text, label in texts(count, seed=len(name))
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def tiny():
    """Tiny models: ``teacher(seed)``, ``student(seed, act, attention)``; ``batch(rows, width)``.

    Row 0 of a batch has padding. ``config(family)`` is of a stock classifier.
    """
    torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
    transformers = pytest.importorskip("transformers", reason="needs veilform[train]")
    pytest.importorskip("accelerate", reason="needs veilform[train] (accelerate)")
    from veilform.distill import student

    def config(family="bert", **changes):
        sizes = {
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 24,
            "max_position_embeddings": 20,
            "initializer_range": 0.2,
            "num_labels": 2,
        }
        if family == "distilbert":
            names = {
                "hidden_size": "dim",
                "num_hidden_layers": "n_layers",
                "num_attention_heads": "n_heads",
                "intermediate_size": "hidden_dim",
            }
            sizes = {names.get(name, name): value for name, value in sizes.items()}
        kinds = {
            "bert": transformers.BertConfig,
            "roberta": transformers.RobertaConfig,
            "distilbert": transformers.DistilBertConfig,
        }
        return kinds[family](**{**sizes, **changes})

    def make_teacher(seed=0, family="bert", **changes):
        torch.manual_seed(seed)
        changes.setdefault("pooling", "mean" if family == "bert" else None)
        return student.build_model(config(family, **changes))

    def make_student(seed=0, act="quad", attention="2quad", family="bert"):
        torch.manual_seed(seed)
        base = make_teacher(seed, family).config
        torch.manual_seed(seed)
        return student.build_model(student.student_config(base, act, attention))

    def make_batch(rows=6, width=9):
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(len(SPECIAL), VOCABULARY, (rows, width), generator=generator)
        lengths = [width - 3 + i if i < 3 else width for i in range(rows)]
        mask = torch.stack([(torch.arange(width) < n).long() for n in lengths])
        return {"input_ids": ids * mask, "attention_mask": mask}

    return SimpleNamespace(
        config=config, teacher=make_teacher, student=make_student, batch=make_batch
    )


@pytest.fixture
def teacher_folder(tiny, tmp_path):
    """A tiny encoder without a head, and its tokenizer, in Hugging Face's format."""
    folder = tmp_path / "teacher"
    tiny.teacher(pooling=None).base_model.save_pretrained(folder)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
