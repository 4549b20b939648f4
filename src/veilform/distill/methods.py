"""How a student is made from a teacher: MPCFormer's recipe, and its two ablations.

``full``: layers, then logits, from the teacher.  ``w/o d``: the teacher's weights, then labels
only.  ``w/o p,d``: random weights, then labels only.  Source: MPCFormer (arXiv 2211.01452), 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel, TrainerCallback, set_seed

from veilform.distill import glue
from veilform.distill.closed_form import applies, start_student
from veilform.distill.material import Material
from veilform.distill.stages import Settings, Stage, run_stage
from veilform.distill.student import build_model, freeze_embeddings, new_student, student_config
from veilform.distill.trainer import Weights
from veilform.quant import Policy
from veilform.quant.convert import convert, to_float

METHODS = ("full", "w/o d", "w/o p,d")
RANGES = 0.1
CALIBRATION = 256


@dataclass(frozen=True)
class Recipe:
    """Epochs, rates and weights of a method's stages.

    Stage 1 learns layers (and logits by ``stage1_logits``), stage 2 logits (and layers by
    ``stage2_hidden``); ``labels`` mixes the labels' loss into stage 2.
    """

    stage1_epochs: int = 10
    stage1_lr: float = 2e-4
    stage2_epochs: int = 2
    stage2_lr: float = 5e-5
    label_epochs: int = 3
    label_lr: float = 5e-5
    hidden: float = 10.0
    attention: float = 0.0
    stage1_logits: float = 1.0
    stage2_hidden: float = 1.0
    labels: float = 0.0
    ranges: float = RANGES
    patience: int = 0

    def but(self, **changes: float) -> Recipe:
        """The same with some settings changed."""
        return replace(self, **changes)

    def stages(self, method: str, metric: str) -> list[Stage]:
        """The stages of a method; ``metric`` chooses the best epoch where only labels teach."""
        if method != "full":
            weights = Weights(labels=1.0, ranges=self.ranges)
            return [
                Stage("labels", self.label_epochs, self.label_lr, weights, metric, self.patience)
            ]
        first = Weights(
            embedding=self.hidden / 10, hidden=self.hidden, attention=self.attention,
            logits=self.stage1_logits, ranges=self.ranges,
        )  # fmt: skip
        second = Weights(
            hidden=self.stage2_hidden, logits=1.0, labels=self.labels, ranges=self.ranges
        )
        stages = [
            Stage(
                "layers",
                self.stage1_epochs,
                self.stage1_lr,
                first,
                patience=self.patience,
                unlabelled=True,
            ),
            Stage("logits", self.stage2_epochs, self.stage2_lr, second, patience=self.patience),
        ]
        return [stage for stage in stages if stage.epochs]


def paper_recipe(epochs: int) -> Recipe:
    """MPCFormer's settings for a task whose first stage has that many epochs (section 4.1).

    Stage 1 learns embeddings, hidden states and attention scores; logits come in stage 2.
    """
    return Recipe(
        epochs, glue.STAGE1_LR, glue.STAGE2_EPOCHS, glue.STAGE2_LR,
        attention=1.0, stage1_logits=0.0,
    )  # fmt: skip


def start(
    teacher: PreTrainedModel,
    material: Material,
    act: str,
    attention: str,
    method: str,
    closed_form: bool,
    private_embedding: bool,
    seed: int,
) -> tuple[PreTrainedModel, str]:
    """The untrained student of a method and what it started from.

    Distillation leaves embeddings as they are unless they are private; students that learn from
    labels alone learn them too, random ones because there is nothing to keep, and the teacher's
    because without them Quad's layers do not recover (docs/results.md).
    """
    if method == "w/o p,d":
        set_seed(seed)
        return build_model(student_config(teacher.config, act, attention)), "random"
    student = new_student(teacher, act, attention)
    if method == "w/o d":
        return student, "teacher"
    if not private_embedding:
        freeze_embeddings(student)
    if closed_form and applies(student):
        count = min(CALIBRATION, len(material.labelled))
        rows = [material.labelled[i] for i in range(count)]
        start_student(
            teacher, student, [material.collator(rows[i : i + 64]) for i in range(0, count, 64)]
        )
        return student, "closed-form"
    return student, "teacher"


def make_student(
    teacher: PreTrainedModel,
    material: Material,
    act: str,
    attention: str,
    method: str,
    recipe: Recipe,
    settings: Settings,
    folder: Path,
    closed_form: bool = True,
    private_embedding: bool = False,
    callbacks: tuple[TrainerCallback, ...] = (),
    policy: Policy | None = None,
) -> tuple[PreTrainedModel, dict]:
    """Run a method's stages under ``folder``; returns the student (eval mode) and its figures.

    Stage 1 sees unlabelled texts too; the other stages see what has labels. With a ``policy`` all
    stages train small integers; the student that is returned has plain float weights again.
    """
    student, began = start(
        teacher, material, act, attention, method, closed_form, private_embedding, settings.seed
    )
    if policy is not None:
        convert(student, policy)
    figures: dict = {"act": act, "attention": attention, "method": method, "start": began}
    figures["stages"] = []
    for stage in recipe.stages(method, material.task.metrics[0]):
        result = run_stage(
            stage, settings, student, material, folder / stage.name,
            teacher if stage.weights.teacher else None, callbacks,
        )  # fmt: skip
        figures["stages"].append(result)
    figures["seconds"] = round(sum(stage["seconds"] for stage in figures["stages"]))
    return to_float(student).eval(), figures
