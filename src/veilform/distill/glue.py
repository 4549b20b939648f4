"""GLUE's eight classification and regression tasks, with the settings that MPCFormer used.

Files are read in the formats in which GLUE is distributed (tab-separated, no quoting, one folder a
task), or fetched through the package ``datasets`` if no folder is given. GLUE keeps its test labels
to itself: the development set is the held-out one, as in the paper (its table 4).

Sources: Wang et al., GLUE (2019); Li et al., MPCFormer (2023), section 4.1 and appendix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from veilform.distill.examples import Row, Splits, Task, label_rows
from veilform.errors import InputError

MAX_TOKENS = 128
STAGE1_LR, STAGE2_LR, STAGE2_EPOCHS = 5e-5, 1e-5, 5
HUB = "nyu-mll/glue"


@dataclass(frozen=True)
class GlueTask:
    """One task and where its files have what.

    Attributes:
        folder: as the distribution calls it.
        columns: names of the text's column, the second text's and the label's.
        positions: the same by position, where a file has no header.
        fields: names of the texts in the package ``datasets``.
        epochs: of distillation's first stage, by MPCFormer.
    """

    name: str
    folder: str
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    columns: tuple[str, str | None, str]
    fields: tuple[str, str | None]
    epochs: int
    dev: tuple[str, ...] = ("dev",)
    positions: tuple[int, int] | None = None

    @property
    def task(self) -> Task:
        """What is predicted and how it is scored."""
        return Task(self.name, self.labels, self.metrics)


_YES_NO = ("entailment", "not_entailment")
_PAIRS = ("sentence1", "sentence2")
_F1 = ("f1", "accuracy")
TASKS = {
    task.name: task
    for task in (
        GlueTask("mnli", "MNLI", ("entailment", "neutral", "contradiction"), ("accuracy",),
                 (*_PAIRS, "gold_label"), ("premise", "hypothesis"), 5,
                 dev=("dev_matched", "dev_mismatched")),
        GlueTask("qqp", "QQP", ("0", "1"), _F1, ("question1", "question2", "is_duplicate"),
                 ("question1", "question2"), 5),
        GlueTask("qnli", "QNLI", _YES_NO, ("accuracy",), ("question", "sentence", "label"),
                 ("question", "sentence"), 10),
        GlueTask("sst2", "SST-2", ("negative", "positive"), ("accuracy",),
                 ("sentence", None, "label"), ("sentence", None), 10),
        GlueTask("cola", "CoLA", ("unacceptable", "acceptable"), ("matthews",),
                 ("sentence", None, "label"), ("sentence", None), 50, positions=(3, 1)),
        GlueTask("stsb", "STS-B", None, ("pearson", "spearman"), (*_PAIRS, "score"), _PAIRS, 100),
        GlueTask("mrpc", "MRPC", ("not_equivalent", "equivalent"), _F1,
                 ("#1 String", "#2 String", "Quality"), _PAIRS, 20),
        GlueTask("rte", "RTE", _YES_NO, ("accuracy",), (*_PAIRS, "label"), _PAIRS, 50),
    )
}  # fmt: skip
_MSR = {"train": "msr_paraphrase_train.txt", "dev": "msr_paraphrase_test.txt"}
"""MRPC as Microsoft distributes it, without GLUE's dev set: its test set has labels."""


def load(name: str, folder: Path | None = None) -> Splits:
    """Train and dev examples of a task; MNLI's test is its mismatched dev set.

    Args:
        name: a key of ``TASKS``.
        folder: holds the task's files, or the task's folder among others; None: ``datasets``.

    Raises:
        InputError: no such task or file, or a file that is not in GLUE's format.
    """
    if name not in TASKS:
        raise InputError(f"no GLUE task is called {name!r}; known: {', '.join(TASKS)}")
    task = TASKS[name]
    parts = ("train", *task.dev)
    rows = [_hub(task, part) if folder is None else read(task, folder, part) for part in parts]
    examples = [label_rows(part, task.labels) for part in rows]
    return Splits(task.task, examples[0], examples[1], *examples[2:])


def read(task: GlueTask, folder: Path, part: str) -> list[Row]:
    """The rows of one file, such as ``train``.

    Raises:
        InputError: it is not there, is empty, or lacks a column.
    """
    path = _find(task, folder, part)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    records = [line.removesuffix("\r").split("\t") for line in lines]
    rows = list(_rows(task, path, records))
    if not rows:
        raise InputError(f"{path} has no rows")
    return rows


def _find(task: GlueTask, folder: Path, part: str) -> Path:
    names = [f"{part}.tsv"] + ([_MSR[part]] if task.name == "mrpc" else [])
    places = [base / name for base in (folder / task.folder, folder) for name in names]
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"no file {' or '.join(map(str, places))}: download GLUE's {task.folder}")


def _rows(task: GlueTask, path: Path, records: Sequence[list[str]]) -> Iterator[Row]:
    text, pair, label = task.columns
    if task.positions is not None:
        found: tuple[int, int | None, int] = (task.positions[0], None, task.positions[1])
        first = 0
    else:
        header = records[0]
        missing = [name for name in (text, pair, label) if name and name not in header]
        if missing:
            raise InputError(
                f"{path} has no column {', '.join(missing)}; its columns are: {', '.join(header)}"
            )
        found = (header.index(text), header.index(pair) if pair else None, header.index(label))
        first = 1
    width = len(records[0])
    for number, record in enumerate(records[first:], first + 1):
        if record == [""]:
            continue
        if len(record) != width:
            # Some questions of QQP hold line breaks: such lines are torn, all loaders skip them.
            if task.name == "qqp":
                continue
            raise InputError(
                f"{path}, line {number}: {len(record)} fields where there should be {width}"
            )
        # A few pairs of MNLI have no gold label.
        if task.name == "mnli" and record[found[2]] == "-":
            continue
        second = None if found[1] is None else record[found[1]].strip()
        place = f"{path}, line {number}"
        yield Row(record[found[0]].strip(), record[found[2]].strip(), place, second)


def _hub(task: GlueTask, part: str) -> list[Row]:
    """The same through the package ``datasets``, which fetches and keeps the files."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise InputError(
            f"give the folder with GLUE's {task.folder} files, or install the package 'datasets' "
            "to fetch them"
        ) from None
    split = part.replace("dev", "validation")
    try:
        table = datasets.load_dataset(HUB, task.name, split=split)
    except Exception as error:  # the library raises many kinds
        raise InputError(
            f"cannot fetch {HUB} {task.name}: {error}. Give a folder with GLUE's files instead"
        ) from None
    return from_table(task, table)


def from_table(task: GlueTask, table: Sequence[dict[str, object]]) -> list[Row]:
    """Rows of one split as ``datasets`` has it, whose labels are positions."""
    first, second = task.fields
    return [
        Row(str(record[first]), str(record["label"]), f"{task.name}, row {number}",
            str(record[second]) if second else None)
        for number, record in enumerate(table, 1)
    ]  # fmt: skip
