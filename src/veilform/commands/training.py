"""The command that makes students: distill."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from veilform.commands import console, pytorch
from veilform.commands.console import Json
from veilform.commands.evaluating import show_scores
from veilform.errors import InputError


class Method(str, Enum):
    """MPCFormer's recipe and its ablations."""

    FULL = "full"
    WITHOUT_DISTILLATION = "w/o d"
    WITHOUT_BOTH = "w/o p,d"


class Precision(str, Enum):
    """Arithmetic of linear layers in training."""

    FP32 = "fp32"
    INT8 = "int8"
    INT4 = "int4"


class Start(str, Enum):
    """What a distilled student starts from."""

    CLOSED_FORM = "closed-form"
    TEACHER = "teacher"


def distill(
    teacher: Annotated[
        Path, typer.Option(help="Folder of a BERT, RoBERTa or DistilBERT model (Hugging Face).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the student; made if it is not there.")],
    train: Annotated[
        Path | None, typer.Option(help="CSV, TSV or JSONL with text, label[, text_pair].")
    ] = None,
    dev: Annotated[Path | None, typer.Option(help="The same, to choose the best epoch.")] = None,
    test: Annotated[Path | None, typer.Option(help="The same, held out.")] = None,
    task: Annotated[
        str, typer.Option(help="Instead of files: a GLUE task, rotten_tomatoes or imdb.")
    ] = "",
    glue_dir: Annotated[
        Path | None, typer.Option(help="Folder with GLUE's files; else they are fetched.")
    ] = None,
    act: Annotated[
        str, typer.Option(help="Activation, or one for each layer, joined by commas.")
    ] = "quad",
    attention: Annotated[str, typer.Option(help="Attention function, likewise.")] = "2quad",
    method: Annotated[
        Method, typer.Option(help="full, or without distillation, or without pretraining too.")
    ] = Method.FULL,
    start: Annotated[
        Start, typer.Option(help="Fits to the teacher where they apply, or its bare weights.")
    ] = Start.CLOSED_FORM,
    regression: Annotated[bool, typer.Option("--regression", help="Labels are numbers.")] = False,
    max_tokens: Annotated[int, typer.Option(help="Longer texts are cut.", min=8, max=512)] = 128,
    pooling: Annotated[
        str, typer.Option(help="Head of a teacher that has none: mean, first, or auto.")
    ] = "auto",
    private_embedding: Annotated[
        bool, typer.Option("--private-embedding", help="Train the embeddings too.")
    ] = False,
    teacher_epochs: Annotated[
        int, typer.Option(help="Fine-tuning of a teacher without a head for the task.", min=1)
    ] = 3,
    epochs: Annotated[
        int | None, typer.Option(help="Stage 1: layers. (default 10, GLUE: MPCFormer's)", min=0)
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Its learning rate.")] = None,
    stage2_epochs: Annotated[int | None, typer.Option(help="Stage 2: logits.", min=0)] = None,
    stage2_lr: Annotated[float | None, typer.Option(help="Its learning rate.")] = None,
    label_epochs: Annotated[
        int | None, typer.Option(help="Epochs of the methods without distillation.", min=1)
    ] = None,
    label_lr: Annotated[float | None, typer.Option(help="Their learning rate.")] = None,
    hidden_weight: Annotated[float, typer.Option(help="Loss of hidden states.")] = 10.0,
    attention_weight: Annotated[
        float | None, typer.Option(help="Loss of attention scores. (default 0, GLUE: 1)")
    ] = None,
    label_weight: Annotated[float, typer.Option(help="Loss of labels in stage 2.")] = 0.0,
    range_weight: Annotated[float, typer.Option(help="Penalty outside private ranges.")] = 0.1,
    patience: Annotated[
        int, typer.Option(help="Epochs without a better dev score before a stage stops; 0: all.")
    ] = 3,
    batch_size: Annotated[int, typer.Option(help="Texts in a step, on each device.", min=1)] = 32,
    seed: Annotated[int, typer.Option(help="Of order and random weights.")] = 1,
    precision: Annotated[
        Precision,
        typer.Option(help="Of linear layers' products in training; see docs/quantization.md."),
    ] = Precision.FP32,
    bf16: Annotated[bool, typer.Option(help="bfloat16 arithmetic in training.")] = True,
    plan: Annotated[
        Path | None,
        typer.Option(help="Parallel plan (JSON), under torchrun: see docs/distillation.md."),
    ] = None,
    report_to: Annotated[
        str, typer.Option(help="Trackers of transformers.TrainingArguments, such as tensorboard.")
    ] = "none",
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Make a student that can be served privately from a teacher and labelled texts.

    Interrupted, it goes on where it was when called again. Several devices: torchrun -m veilform,
    and --plan to share the model too.
    """
    from veilform.distill import glue, sources, tabular
    from veilform.distill.ranks.layout import Layout

    layout = Layout.from_json(plan) if plan else None
    if layout is not None:
        layout.check_batch(batch_size)
    # All that can be wrong with the data is said before the libraries load.
    if task:
        if train or dev or test:
            raise InputError("give files or --task, not both")
        splits = sources.named(task, glue_dir)
    elif train is None or dev is None:
        raise InputError("give --train and --dev, or --task")
    else:
        splits = tabular.read_splits(train, dev, test, regression)
    bar = pytorch.ready("distillation", threads)
    from veilform.distill.methods import Recipe, paper_recipe
    from veilform.distill.ranks.connect import connect
    from veilform.distill.run import Job, is_first_process
    from veilform.distill.run import distil as run
    from veilform.distill.stages import Settings

    if layout is not None:
        connect(layout)
    given = {
        "stage1_epochs": epochs, "stage1_lr": lr, "stage2_epochs": stage2_epochs,
        "stage2_lr": stage2_lr, "label_epochs": label_epochs, "label_lr": label_lr,
        "hidden": hidden_weight, "attention": attention_weight, "labels": label_weight,
        "ranges": range_weight, "patience": patience,
    }  # fmt: skip
    base = paper_recipe(glue.TASKS[task].epochs) if task in glue.TASKS else Recipe()
    job = Job(
        teacher=teacher, out=out, act=act, attention=attention, method=method.value,
        closed_form=start is Start.CLOSED_FORM, max_tokens=max_tokens,
        teacher_epochs=teacher_epochs, pooling=None if pooling == "auto" else pooling,
        private_embedding=private_embedding, precision=precision.value,
        recipe=base.but(**{name: value for name, value in given.items() if value is not None}),
        settings=Settings(batch_size, seed, bf16, extra={"report_to": report_to}, layout=layout),
    )  # fmt: skip
    with console.step("reading", as_json) as tell:
        figures = run(job, splits, (bar,), tell)
    if not is_first_process():
        return
    if as_json:
        console.print_json(figures)
        return
    show_scores(figures["task"]["name"], {
        f"{name}, {part}": scores
        for name in ("teacher", "student")
        for part, scores in figures[name]["scores"].items()
    })  # fmt: skip
    if figures["calibration"]:
        console.out.print(f"Not calibrated: {figures['calibration']}", markup=False)
    console.out.print(f"Wrote {out}: see its README.md.", highlight=False)
