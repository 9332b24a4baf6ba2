"""Names of files as tables write them."""

from __future__ import annotations

import pytest

from qlcnet.data.folder.ids import ids_as_written, match_ids
from qlcnet.data.imageset import DataError

NAMES = ["train/mel/a.png", "train/nv/b.1.jpg", "test/mel/c.png", "d.tif"]


@pytest.mark.parametrize(
    ("written", "position"),
    [
        ("a", 0),
        ("a.png", 0),
        ("mel/a", 0),
        ("mel/a.png", 0),
        ("train/mel/a.png", 0),
        ("/data/lesions/train/mel/a.png", 0),
        ("./train/mel/a.png", 0),
        ("lesions\\train\\mel\\a.png", 0),
        (" a ", 0),
        ("b.1", 1),
        ("b.1.jpg", 1),
        ("somewhere/d.tif", 3),
        ("b", None),
        ("a.jpg", None),
        ("A", None),
        ("nv/a", None),
        ("test/mel/a.png", None),
        ("mel", None),
        ("", None),
    ],
)
def test_an_id_may_carry_or_lack_folders_and_ending(written: str, position: int | None) -> None:
    assert match_ids([written], NAMES) == [position]


def test_an_id_that_several_files_share_is_refused() -> None:
    names = ["mel/1.png", "nv/1.png", "nv/1.jpg"]
    assert match_ids(["mel/1", "nv/1.png", "nv/1.jpg"], names) == [0, 1, 2]
    with pytest.raises(DataError, match=r"'1' can mean mel/1.png or nv/1.png or nv/1.jpg: write the folder"):
        match_ids(["1"], names)
    with pytest.raises(DataError, match=r"'nv/1' can mean nv/1.png or nv/1.jpg"):
        match_ids(["nv/1"], names)


def test_more_folders_in_common_decide() -> None:
    names = ["1.png", "more/1.png", "even/more/1.png"]
    assert match_ids(["even/more/1", "data/even/more/1"], names) == [2, 2]
    assert match_ids(["less/1"], names) == [0]
    with pytest.raises(DataError, match=r"'more/1' can mean more/1.png or even/more/1.png"):
        match_ids(["more/1"], names)


def test_whole_names_mean_just_those() -> None:
    names = ["1.png", "nv/1.png", "x/nv/1.png"]
    assert match_ids(names, names) == [0, 1, 2]
    with pytest.raises(DataError, match="can mean"):
        match_ids([*names, "other"], names)


def test_letters_made_of_two_characters_are_the_same() -> None:
    composed, apart = "caf\u00e9.png", "cafe\u0301"
    assert match_ids([apart], [composed]) == [0]


def test_files_are_called_as_the_table_does() -> None:
    assert ids_as_written(["c", "train/mel/a.png", "no such"], NAMES) == [
        "train/mel/a.png", "train/nv/b.1.jpg", "c", "d.tif"
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"'a' and 'a.png' both mean train/mel/a.png"):
        ids_as_written(["a", "a.png"], NAMES)
