"""The same checkpoints run by Hugging Face's own BERT. Needs torch and transformers.

    python -m tests.models.hugging_face

writes ``reference.json`` anew: float64 outputs of the checkpoints of ``formula.py``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from tests.models.formula import IDS, MASK, TYPES, VARIANTS, make_formula
from transformers import BertForSequenceClassification, BertModel
from transformers.activations import ACT2FN
from transformers.models.bert import modeling_bert
from transformers.models.distilbert import modeling_distilbert
from transformers.models.roberta import modeling_roberta
from transformers.models.xlm_roberta import modeling_xlm_roberta

from veilform.models.text import TokenBatch

MODELING = (modeling_bert, modeling_roberta, modeling_xlm_roberta, modeling_distilbert)
REFERENCE = Path(__file__).with_name("reference.json")


class Quad(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return 0.125 * x**2 + 0.25 * x + 0.5


def twoquad_attention(
    module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None = None, **_: Any
) -> Any:
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    squares = (scores + 5) ** 2
    if mask is not None:
        squares = squares * (mask == 0)
    weights = squares / squares.sum(-1, keepdim=True)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


@contextmanager
def student_functions() -> Iterator[None]:
    """Quad and 2Quad in Hugging Face's model code, for as long as the context lasts."""
    plain = [modeling.eager_attention_forward for modeling in MODELING]
    for modeling in MODELING:
        modeling.eager_attention_forward = twoquad_attention
    ACT2FN["quad"] = Quad
    try:
        yield
    finally:
        for modeling, attention in zip(MODELING, plain, strict=True):
            modeling.eager_attention_forward = attention
        del ACT2FN["quad"]


def run_family(folder: Path, batch: TokenBatch) -> Any:
    """Logits of a checkpoint of any family, or the mean rows of an encoder; in float64.

    Its architecture's own class loads it, and no tensor may be missing or left over.
    """
    (architecture,) = json.loads((folder / "config.json").read_text(encoding="utf-8"))[
        "architectures"
    ]
    model, found = getattr(transformers, architecture).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    strange = {n for n in found["missing_keys"] if "pooler" not in n}
    assert not strange | set(found["unexpected_keys"]), found
    inputs = {"input_ids": torch.tensor(batch.ids), "attention_mask": torch.tensor(batch.mask)}
    if "Distil" not in architecture:
        inputs["token_type_ids"] = torch.tensor(batch.types)
    with torch.no_grad():
        out = model.eval().to(torch.float64)(**inputs)
    if hasattr(out, "logits"):
        return out.logits.numpy()
    weight = inputs["attention_mask"][:, :, None]
    return ((out.last_hidden_state * weight).sum(1) / weight.sum(1)).numpy()


def run_teacher(folder: Path, ids: Any, mask: Any, types: Any, dtype: Any) -> dict[str, Any]:
    model = BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    return _run(model.eval().to(dtype), None, ids, mask, types)


def run_student(folder: Path, ids: Any, mask: Any, types: Any, dtype: Any) -> dict[str, Any]:
    """Hugging Face's classifier without its pooler; the mean over tokens in its place."""
    with student_functions():
        model = BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
        return _run(model.eval().to(dtype), "mean", ids, mask, types)


def run_encoder(folder: Path, ids: Any, mask: Any) -> Any:
    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        out = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask))
    return out.last_hidden_state.numpy()


def _run(model: Any, pooling: str | None, ids: Any, mask: Any, types: Any) -> dict[str, Any]:
    inputs = {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "token_type_ids": torch.tensor(types),
    }
    with torch.no_grad():
        hidden = model.bert(**inputs).last_hidden_state
        if pooling == "mean":
            weight = inputs["attention_mask"].to(hidden.dtype)[:, :, None]
            logits = model.classifier((hidden * weight).sum(1) / weight.sum(1))
        else:
            logits = model(**inputs).logits
    return {"hidden": hidden.numpy(), "logits": logits.numpy()}


RUN = {"teacher": run_teacher, "student": run_student}


def write_reference() -> None:
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    stored: dict[str, Any] = {
        "source": f"BertForSequenceClassification in float64, {versions}; "
        "made by tests/models/hugging_face.py from tests/models/formula.py",
    }
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            made = make_formula(Path(folder), variant)
            out = RUN[variant](made, IDS, MASK, TYPES, torch.float64)
        # The first and the last token (padding in two of the texts) are enough of the hidden part.
        ends = out["hidden"][:, [0, -1], :4]
        stored[variant] = {"logits": out["logits"].tolist(), "hidden_ends": ends.tolist()}
    REFERENCE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_reference()
