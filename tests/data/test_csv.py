"""A CSV table of images: its columns, paths and splits; and one line for a mistake."""

import csv

import numpy as np
import pytest

from jaxcnn.data.csv import load_csv
from jaxcnn.errors import UserError
from tests.images import photo, saved

PNG = saved(photo(8, 8), "PNG")


def table(folder, text, encoding="utf-8"):
    file = folder / "table.csv"
    file.write_bytes(text.encode(encoding))
    return file


def source_of(file, **keywords):
    return load_csv(dir=str(file), **keywords)["train"]


def names_of(source):
    return [source.name(i) for i in range(source.size)]


def mistake(file, **keywords):
    with pytest.raises(UserError) as caught:
        load_csv(dir=str(file), **keywords)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"config.data.dir={str(file)!r}: ")
    return message.removeprefix(f"config.data.dir={str(file)!r}: ")


def test_paths_are_relative_to_the_table_or_absolute(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(PNG)
    (tmp_path / "b, c.png").write_bytes(PNG)
    far = tmp_path / "far.png"
    far.write_bytes(PNG + b"far")
    file = tmp_path / "table.csv"
    with file.open("w", newline="") as lines:
        rows = [("path", "label"), ("images/a.png", "x"), ("b, c.png", "y"), (str(far), "x")]
        csv.writer(lines).writerows(rows)
    source = source_of(file)
    contents, label = source.read(np.arange(3))
    assert contents == [PNG, PNG, PNG + b"far"]
    assert label.tolist() == [0, 1, 0]
    assert source.class_names == ("x", "y")
    assert names_of(source) == ["images/a.png", "b, c.png", str(far)]


def test_a_changed_file_is_noticed_also_at_an_absolute_path(tmp_path):
    near, far = tmp_path / "near.png", tmp_path / "far.png"
    near.write_bytes(PNG)
    far.write_bytes(PNG)
    file = table(tmp_path, f"path,label\nnear.png,x\n{far},y\n")
    before = source_of(file)
    for path in (near, far):
        path.write_bytes(PNG + b"more")
        after = source_of(file)
        assert after.identity != before.identity
        assert after.stamp != before.stamp
        before = after


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_excel_writes_is_read(tmp_path, encoding, end):
    text = end.join(('path,label,"note, long"', 'ä.png,Bär,"a, b"', "", "b.png,Fuchs,", ""))
    source = source_of(table(tmp_path, text, encoding))
    assert source.class_names == ("Bär", "Fuchs")
    assert names_of(source) == ["ä.png", "b.png"]


def test_columns_may_have_other_names(tmp_path):
    file = table(tmp_path, "image, species\na.png,x\nb.png,y\n")
    source = source_of(file, path_column="image", label_column="species")
    assert names_of(source) == ["a.png", "b.png"]
    assert mistake(file, label_column="species") == (
        "has no column 'path'; it has image, species; name yours with --config.data.path_column"
    )


def test_the_split_column_makes_the_roles(tmp_path):
    text = "path,label,split\n1,a,train\n2,b,Training\n3,a, VAL\n4,b,test\n5,a,testing\n"
    sources = load_csv(dir=str(table(tmp_path, text)))
    assert {role: names_of(source) for role, source in sources.items()} == {
        "train": ["1", "2"],
        "validation": ["3"],
        "test": ["4", "5"],
    }


def test_the_group_column_or_pattern_makes_the_groups(tmp_path):
    file = table(tmp_path, "path,label,group\np1/a,x,one\np1/b,y,two\np2/c,x,one\n")
    first, second, third = source_of(file).unit
    assert first == third != second
    first, second, third = source_of(file, group_pattern="(p.)").unit
    assert first == second != third


def test_missing_files_are_left_to_be_told_together(tmp_path):
    contents, _ = source_of(table(tmp_path, "path,label\nx.png,a\ny.png,b\n")).read(np.arange(2))
    assert [content.strerror for content in contents] == ["No such file or directory"] * 2


MISTAKES = {
    "": "has no column 'path'; it has none; name yours with --config.data.path_column",
    "path,label\n": "no rows below the header, and a classifier needs two classes",
    "path,lable\na,x\n": "has no column 'label' (did you mean lable?); it has path, lable; name "
    "yours with --config.data.label_column",
    "path;label\na;x\n": "its columns are separated by ';'; write commas",
    "path\tlabel\na\tx\n": "its columns are separated by '\\t'; write commas",
    "path,label,path\na,x,b\n": "has two columns 'path'; rename one",
    "path,label\na,x\n\nb\n": "line 4 has no label",
    "path,label\na,x\n,y\n": "line 3 has no path",
    "path,label\na,x\nb, with comma.png,y\n": "line 3 has more fields than the header; quote "
    "paths with commas",
    "path,label,split\na,x,train\nb,y,\n": "line 3 has no split",
    "path,label,split\na,x,train\nb,y,dev\n": "line 3 is of split 'dev'; expected train, val or "
    "test",
    "path,label,split\na,x,test\nb,y,test\n": "no line is of split train",
    "path,label,split\na,x,train\nb,y,test\n": "train has no images of class 'y', validation or "
    "test has; add some to train or remove it there",
    "path,label,group\na,x,1\nb,y\n": "line 3 has no group",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_the_table_gets_one_line(tmp_path, text):
    assert mistake(table(tmp_path, text)) == MISTAKES[text]


def test_what_is_no_table_gets_one_line(tmp_path):
    assert mistake(tmp_path) == "is a folder; give a CSV file"
    assert mistake(tmp_path / "no.csv") == "no such file"
    file = table(tmp_path, "path,label\nä,x\nb,y\n", "latin1")
    assert mistake(file).startswith("not readable as CSV ('utf-8' codec can't decode byte 0xe4")
    file.write_bytes(saved(photo(), "PNG"))
    assert mistake(file).startswith("not readable as CSV (")
    file.write_bytes(b"path,label\na,\0\n" + b"x" * 200_000 + b",b\n")
    assert mistake(file).startswith("not readable as CSV (")


@pytest.mark.parametrize("keyword", ["split_column", "group_column"])
def test_a_column_that_was_named_must_be_there(tmp_path, keyword):
    file = table(tmp_path, "path,label,patient\na.png,x,1\nb.png,y,2\n")
    message = mistake(file, **{keyword: "pateint"})
    assert message.startswith("has no column 'pateint' (did you mean patient?); it has path, ")
    assert message.endswith(f"name yours with --config.data.{keyword}")
