"""Files of labelled texts: what is read, and what each broken file is told."""

import pytest

from veilform.distill import tabular
from veilform.distill.examples import Example, renumber
from veilform.errors import InputError


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_with_quotes_pairs_and_a_mark(tmp_path):
    content = '\ufefflabel,text,text_pair\n1,"a, ""b""",c\n0,d,"e\nf"\n'
    rows = tabular.read(write(tmp_path, "a.csv", content))
    assert [(r.text, r.pair, r.label) for r in rows] == [('a, "b"', "c", "1"), ("d", "e\nf", "0")]


def test_json_lines_and_tab_separated(tmp_path):
    lines = '{"text": "a", "label": true}\n\n{"text": "b", "label": 0}\n'
    assert [r.label for r in tabular.read(write(tmp_path, "a.jsonl", lines))] == ["1", "0"]
    rows = tabular.read(write(tmp_path, "a.tsv", "text\tlabel\na\tpos\n"))
    assert (rows[0].text, rows[0].label) == ("a", "pos")


def test_splits_number_labels_by_the_training_file(tmp_path):
    train = write(tmp_path, "t.csv", "text,label\na,pos\nb,neg\nc,pos\n")
    dev = write(tmp_path, "d.csv", "text,label\nd,POS\ne,0\n")
    splits = tabular.read_splits(train, dev)
    assert splits.task.labels == ("neg", "pos")
    assert [e.label for e in splits.train] == [1, 0, 1]
    assert [e.label for e in splits.dev] == [1, 0]


def test_whole_numbers_are_ordered_as_numbers(tmp_path):
    train = write(tmp_path, "t.csv", "text,label\na,10\nb,9\n")
    assert tabular.read_splits(train, train).task.labels == ("9", "10")


def test_regression(tmp_path):
    train = write(tmp_path, "t.csv", "text,label\na,0.5\nb,3\n")
    splits = tabular.read_splits(train, train, regression=True)
    assert [e.label for e in splits.train] == [0.5, 3.0]
    assert (splits.task.labels, splits.task.outputs) == (None, 1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "x", "must end in .csv"),
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "has no rows"),
        ("a.csv", "sentence,label\nx,1\n", "no column text; its columns are: sentence, label"),
        ("a.csv", "a,b\nx,1\n", "no column text and no column label"),
        ("a.csv", "text,label\nx,\n", "line 2: the column label is empty"),
        ("a.csv", "text,label\nx\n", "line 2: the column label is empty"),
        ("a.csv", b"text,label\n\xff,1\n", "not valid UTF-8"),
        ("a.csv", 'text,label\n"x,1\n', "no well-formed table"),
        ("a.jsonl", '{"text": "x"\n', "line 1 is no JSON object"),
        ("a.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("a.jsonl", '{"text": "x"}\n', "line 1 has no column label; its columns are: text"),
        ("a.jsonl", '{"text": ["x"], "label": 1}\n', "the column text is empty"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, content, said):
    with pytest.raises(InputError, match=said):
        tabular.read(write(tmp_path, name, content))


def test_missing_file_and_wrong_labels(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        tabular.read(tmp_path / "none.csv")
    one = write(tmp_path, "one.csv", "text,label\na,1\nb,1\n")
    two = write(tmp_path, "two.csv", "text,label\na,yes\nb,no\n")
    with pytest.raises(InputError, match="only '1' as label: at least two classes"):
        tabular.read_splits(one, two)
    with pytest.raises(InputError, match=r"line 2: unknown label 'maybe'; known: no, yes"):
        tabular.read_splits(two, write(tmp_path, "d.csv", "text,label\na,maybe\n"))
    with pytest.raises(InputError, match="'yes' is no number"):
        tabular.read_splits(two, two, regression=True)
    nan = write(tmp_path, "nan.csv", "text,label\na,nan\n")
    with pytest.raises(InputError, match="'nan' is no number"):
        tabular.read_splits(nan, nan, regression=True)


def test_labels_take_the_models_order(tmp_path):
    train = write(tmp_path, "t.csv", "text,label\na,pos\nb,neg\n")
    splits = tabular.read_splits(train, train)
    turned = renumber(splits, ["POS", "NEG"])
    assert turned is not None
    assert turned.train == [Example("a", 0), Example("b", 1)]
    assert turned.task.labels == ("POS", "NEG")
    assert renumber(splits, ["LABEL_0", "LABEL_1"]) == splits
    assert renumber(splits, ["neg", "neutral", "pos"]) is None
    assert renumber(splits, ["cat", "dog"]) is None
    assert renumber(splits, None) is None
