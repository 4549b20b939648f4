"""The model card (``README.md``) of a compressed image model: how good, at what cost, how made."""

from __future__ import annotations

from typing import Any

CARD = """---
library_name: veilform
pipeline_tag: image-classification
---

# {name}

An image classifier for private inference with Veilform: a MobileNetV2 of which {share:.0%} of the
activations inside blocks stay. Merged into one convolution each: {merged}.

| | before | after |
| --- | --- | --- |
| right, of {pictures:,} held-out pictures | {was:.2f} % | {now:.2f} % |
{rows}

In the clear, in float32. Costs are of one image, exact, from the trace with direct convolutions.
`training.json` has curves, settings and times. Merging changed logits by {changed:.1e} at most.

It knows what its data taught it, with their biases. Name here the licence of the data before you
publish this folder.
"""


def card(name: str, figures: dict[str, Any]) -> str:
    """Markdown text for the figures of ``compressing.compress``."""
    before, after = figures["teacher_cost"], figures["cost"]
    rows = [f"| {key.replace('_', ' ')} | {before[key]:,} | {after[key]:,} |" for key in after]
    search = figures["stages"].get("search")
    return CARD.format(
        name=name,
        share=search["share_kept"] if search else 1.0,
        merged=", ".join(map(str, figures["merged_blocks"])) or "none",
        pictures=figures["test"]["pictures"],
        was=100 * figures["teacher_test"]["accuracy"],
        now=100 * figures["test"]["accuracy"],
        rows="\n".join(rows),
        changed=figures["merging_changes_logits_by"],
    )
