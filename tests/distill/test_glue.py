"""Loaders of GLUE's tasks, on small files made in the formats of its distribution."""

import pytest

from veilform.distill import glue
from veilform.errors import InputError

MNLI = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
    "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label"
)
FILES = {
    "mnli": {
        "train": f"{MNLI}\n0\t1\t1n\tfiction\tx\tx\tx\tx\tIt rains.\tIt is wet.\tneutral\tneutral\n"
        "1\t2\t2c\tfiction\tx\tx\tx\tx\tA man\tNo man\tcontradiction\tcontradiction\n",
        "dev_matched": f"{MNLI}\n0\t1\t1n\tfiction\tx\tx\tx\tx\tm\tn\tneutral\t-\n"
        "1\t1\t1e\tfiction\tx\tx\tx\tx\ta\tb\tneutral\tentailment\n",
        "dev_mismatched": f"{MNLI}\n0\t1\t1n\ttravel\tx\tx\tx\tx\tc\td\tneutral\tneutral\n",
    },
    "qqp": {
        "train": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
        "1\t2\t3\tHow?\tHow so?\t1\n4\t5\t6\ttorn\n7\t8\t9\tWho?\tWhy?\t0\n",
        "dev": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\tb\t0\n",
    },
    "qnli": {
        "train": "index\tquestion\tsentence\tlabel\n0\tWhen?\tIn 1990.\tentailment\n",
        "dev": "index\tquestion\tsentence\tlabel\n0\tWho?\tNobody.\tnot_entailment\n",
    },
    "sst2": {
        "train": "sentence\tlabel\nhide new \" secretions \t0\na gem \t1\n",
        "dev": "sentence\tlabel\nfine\t1\n",
    },
    "cola": {
        "train": "gj04\t1\t\tOur friends won't buy it.\ngj04\t0\t*\tThem runs.\n",
        "dev": "gj04\t1\t\tThe sailors rode.\n",
    },
    "stsb": {
        "train": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\t"
        "score\n0\tg\tf\t2012\t1\tnone\tnone\tA plane\tAn air plane\t5.000\n",
        "dev": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\t"
        "score\n0\tg\tf\t2012\t1\tnone\tnone\ta\tb\t2.25\n",
    },
    "mrpc": {
        "train": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
        '1\t7\t8\tHe said "so\tHe so\n',
        "dev": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\tx\ty\n",
    },
    "rte": {
        "train": "index\tsentence1\tsentence2\tlabel\n0\tp\th\tnot_entailment\n",
        "dev": "index\tsentence1\tsentence2\tlabel\n0\tp\th\tentailment\n",
    },
}  # fmt: skip
FIRST = {
    "mnli": ("It rains.", "It is wet.", 1),
    "qqp": ("How?", "How so?", 1),
    "qnli": ("When?", "In 1990.", 0),
    "sst2": ('hide new " secretions', None, 0),
    "cola": ("Our friends won't buy it.", None, 1),
    "stsb": ("A plane", "An air plane", 5.0),
    "mrpc": ('He said "so', "He so", 1),
    "rte": ("p", "h", 1),
}


def write(folder, name, files=None):
    place = folder / glue.TASKS[name].folder
    place.mkdir(parents=True, exist_ok=True)
    for part, content in (files or FILES[name]).items():
        (place / f"{part}.tsv").write_bytes(content.encode())
    return folder


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_task_loads_from_its_own_format(tmp_path, name):
    splits = glue.load(name, write(tmp_path, name))
    first = splits.train[0]
    assert (first.text, first.pair, first.label) == FIRST[name]
    assert splits.task == glue.TASKS[name].task
    assert len(splits.dev) == 1
    # The task's own folder may be given as well.
    assert glue.load(name, tmp_path / glue.TASKS[name].folder) == splits


def test_there_are_eight_with_the_papers_epochs():
    epochs = {name: task.epochs for name, task in glue.TASKS.items()}
    assert epochs == {
        "cola": 50, "mnli": 5, "mrpc": 20, "sst2": 10, "stsb": 100, "qqp": 5, "qnli": 10, "rte": 50
    }  # fmt: skip


def test_torn_questions_and_missing_gold_labels_are_left_out(tmp_path):
    assert len(glue.load("qqp", write(tmp_path, "qqp")).train) == 2
    mnli = glue.load("mnli", write(tmp_path, "mnli"))
    assert [e.label for e in mnli.dev] == [0]
    assert [e.text for e in mnli.test] == ["c"]


def test_mrpc_as_microsoft_distributes_it(tmp_path):
    for part, name in (("train", "train"), ("dev", "test")):
        path = tmp_path / f"msr_paraphrase_{name}.txt"
        path.write_bytes(FILES["mrpc"][part].replace("\n", "\r\n").encode())
    splits = glue.load("mrpc", tmp_path)
    assert (splits.train[0].pair, splits.dev[0].label) == ("He so", 0)


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(InputError, match="no GLUE task is called 'wnli'; known: mnli"):
        glue.load("wnli", tmp_path)
    with pytest.raises(InputError, match="download GLUE's RTE"):
        glue.load("rte", tmp_path)
    files = {**FILES["rte"], "train": "index\tsentence1\tlabel\n0\tp\tentailment\n"}
    with pytest.raises(InputError, match="no column sentence2; its columns are: index"):
        glue.load("rte", write(tmp_path, "rte", files))
    files["train"] = FILES["rte"]["train"] + "1\tp\n"
    with pytest.raises(InputError, match="line 3: 2 fields where there should be 4"):
        glue.load("rte", write(tmp_path, "rte", files))
    files["train"] = FILES["rte"]["train"].replace("not_entailment", "perhaps")
    with pytest.raises(InputError, match="unknown label 'perhaps'"):
        glue.load("rte", write(tmp_path, "rte", files))
    files["train"] = "index\tsentence1\tsentence2\tlabel\n"
    with pytest.raises(InputError, match="has no rows"):
        glue.load("rte", write(tmp_path, "rte", files))


def test_tables_of_the_package_datasets():
    datasets = pytest.importorskip("datasets")
    task = glue.TASKS["mnli"]
    table = datasets.Dataset.from_dict({"premise": ["a"], "hypothesis": ["b"], "label": [2]})
    row = glue.from_table(task, table)[0]
    assert (row.text, row.pair, row.label) == ("a", "b", "2")
