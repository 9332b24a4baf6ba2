"""Images in folders: which files are taken, their classes and parts, what is refused, and by what they are known."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qlcnet.config import Data, Task
from qlcnet.data.folder import reading as reading_module
from qlcnet.data.folder import source as source_module
from qlcnet.data.folder.layout import list_folder
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.data.sources import fetch
from tests.data.pictures import SIDE, draw, draw_all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures are: on the search path, below the project."""
    return tmp_path / "project" / "lesions"


def bring(folder: Path, **source: Any) -> ImageSet:
    task = Task.model_validate({"source": {"kind": "folder", "path": folder.name, "size": SIDE, **source}})
    return ImageSet.load(fetch("task", task, Data(), folder.parent))


def refused(folder: Path, **source: Any) -> str:
    with pytest.raises(DataError) as raised:
        bring(folder, **source)
    message = str(raised.value)
    assert message.startswith("datasets.task: ")
    assert not (folder.parent / "data" / "raw" / "task").exists()
    assert list(folder.parent.glob(".qlcnet/tmp/*")) == []
    return message


def pixels(*paths: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in paths])


# --- classes and parts ---------------------------------------------------------------------------------------------


def test_a_subfolder_is_a_class(folder: Path) -> None:
    draw_all(folder, {"nv": 3, "mel": 2, "akiec": 1})
    loaded = bring(folder)
    assert loaded.class_names == ("akiec", "mel", "nv")
    assert loaded.labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert set(loaded.parts) == {"train"}
    in_order = [folder / name for name in ("akiec/0.png", "mel/0.png", "mel/1.png", "nv/0.png", "nv/1.png", "nv/2.png")]
    np.testing.assert_array_equal(loaded.images[..., 0], pixels(*in_order))
    assert loaded.about["title"] == "lesions"
    assert loaded.about["source"] == "the folder lesions, declared in params.yaml"
    assert loaded.about["note"].startswith("the central square, resized to 8 x 8 bilinearly with antialiasing; Pillow")


def test_the_place_of_the_folder_changes_nothing(folder: Path, tmp_path: Path) -> None:
    draw_all(folder, {"a": 2, "b": 2})
    first = bring(folder)
    elsewhere = tmp_path / "elsewhere" / "lesions"
    elsewhere.parent.mkdir()
    folder.rename(elsewhere)
    second = bring(folder, path=str(elsewhere))
    assert (second.about, second.digest) == (first.about, first.digest)
    message = refused_missing(folder, "lesions")
    assert "no folder lesions on the search path:" in message
    assert str(folder.parent) in message
    (folder.parent / "lesions.zip").write_bytes(b"PK")
    assert "lesions.zip is a file, expected a folder of images; unpack" in refused_missing(folder, "lesions.zip")
    assert refused_missing(folder, "/nowhere/lesions").endswith("there is no folder /nowhere/lesions")


def refused_missing(folder: Path, path: str) -> str:
    with pytest.raises(DataError) as raised:
        bring(folder, path=path)
    return str(raised.value)


def test_classes_that_are_numbers_are_in_their_order(folder: Path) -> None:
    draw_all(folder, {"10": 1, "9": 1, "0": 1})
    loaded = bring(folder, class_names={"10": "severe"})
    assert loaded.class_names == ("0", "9", "severe")


def test_class_names_are_given_by_folder(folder: Path) -> None:
    draw_all(folder, {"mel": 1, "nv": 1})
    assert bring(folder, class_names={"nv": "naevus", "mel": "恶性"}).class_names == ("恶性", "naevus")
    shutil.rmtree(folder.parent / "data")
    assert "class_names: there is no class bcc; there are mel, nv" in refused(folder, class_names={"bcc": "x"})
    assert "two classes have one name" in refused(folder, class_names={"mel": "nv"})


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "validation", "TESTING"), ("train", "valid", "test")],
)
def test_split_folders_are_the_official_split(folder: Path, train: str, val: str, test: str) -> None:
    draw_all(folder, {f"{test}/a": 1, f"{test}/b": 1, f"{train}/a": 2, f"{train}/b": 1, f"{val}/b": 1})
    loaded = bring(folder)
    assert loaded.class_names == ("a", "b")
    assert loaded.parts.tolist() == ["train"] * 3 + ["val"] + ["test"] * 2
    assert loaded.labels.tolist() == [0, 0, 1, 1, 0, 1]
    np.testing.assert_array_equal(loaded.images[3, ..., 0], pixels(folder / val / "b" / "0.png")[0])


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"train/a": 1, "train/b": 1, "test/a": 1, "extra/a": 1}, "beside the split folders test, train lie extra"),
        ({"train/a": 1, "train/b": 1, "other": 1}, "beside the split folders train lie other"),
        ({"train/a": 1, "train/b": 1, "": 1}, "beside the split folders train lie images"),
        ({"train/a": 1, "training/b": 1}, "train and training are both the train part"),
        ({"test/a": 1, "test/b": 1}, "of the split there is test, but no folder train.*`path: …/test`"),
        ({"train": 2, "test": 2}, "images in no class folder: test/0.png, test/1.png, train/0.png, train/1.png; put"),
        ({"": 7}, "images in no class folder: 0.png, .* and 2 more; put each .* or give `labels"),
        ({"a": 1, "": 1}, "images in no class folder: 0.png; put"),
        ({"images": 2}, "one class only: images; if the classes are the folders in it, write `path: …/images`"),
        ({"images/a": 2, "images/b": 2}, "one class only: images"),
    ],
)
def test_what_is_not_clear_is_refused(folder: Path, counts: dict[str, int], words: str) -> None:
    import re

    message = refused(draw_all(folder, counts))
    assert re.search(words, message), message


def test_a_class_may_be_called_train(folder: Path) -> None:
    draw_all(folder, {"train": 2, "car": 2, "bus": 2})
    assert bring(folder).class_names == ("bus", "car", "train")


def test_folders_in_a_class_are_of_that_class(folder: Path) -> None:
    draw_all(folder, {"mel/patient 1/left": 2, "mel": 1, "nv/patient 2": 1})
    assert bring(folder).labels.tolist() == [0, 0, 0, 1]


def test_a_class_folder_without_an_image_is_refused(folder: Path) -> None:
    draw_all(folder, {"a": 1, "b": 1})
    (folder / "bcc").mkdir()
    (folder / "bcc" / "1.dcm").write_bytes(b"x")
    message = refused(folder)
    assert (
        "class folders without an image: bcc; read are PNG, JPEG, TIFF and WebP (other files here: 1 .dcm)" in message
    )
    shutil.rmtree(folder)
    draw_all(folder, {"train/a": 1, "train/b": 1, "val/a": 1})
    (folder / "val" / "b").mkdir()
    (folder / "logs" / "old").mkdir(parents=True)
    assert len(bring(folder)) == 3, "b has images elsewhere, and logs is no part"


def test_a_folder_without_images(folder: Path) -> None:
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "x.bmp").write_bytes(b"BM")
    assert refused(folder).endswith("lesions: no PNG, JPEG, TIFF or WebP in it; other files: 1 .bmp")


# --- files ---------------------------------------------------------------------------------------------------------


def test_hidden_files_are_not_seen_and_others_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw_all(folder, {"a": 2, "b": 1})
    digest = list_folder(folder).digest
    for name in (".DS_Store", "a/._0.png", "a/Thumbs.db", "b/desktop.ini"):
        (folder / name).write_bytes(b"x")
    draw_all(folder, {".hidden": 1, "__MACOSX/a": 1, "a/.ipynb_checkpoints": 1})
    assert list_folder(folder).digest == digest
    for name in ("a/notes.txt", "a/0.xml", "b/0.xml", "README"):
        (folder / name).write_bytes(b"x")
    with caplog.at_level(logging.INFO):
        assert len(bring(folder)) == 3
    assert "files that are no images are left out: 4 (2 .xml, 1 without an ending, 1 .txt)" in caplog.text
    assert "Thumbs" not in caplog.text


def test_every_format_by_what_it_holds(folder: Path) -> None:
    """Whatever the ending says among those that are read, and one name with several endings is several images."""
    names = ["a/x.PNG", "a/x.jpg", "a/x.tiff", "a/x.webp", "b/0.jpeg", "b/1.tif"]
    for i, name in enumerate(names):
        draw(folder / name, level=10 * i)
    (folder / "b" / "0.jpeg").write_bytes((folder / "a" / "x.tiff").read_bytes())
    loaded = bring(folder)
    assert np.abs(loaded.images[:, 0, 0, 0] - np.array([0, 10, 20, 30, 20, 50])).max() <= 1
    assert len(loaded) == 6


def test_links_are_followed_but_not_in_circles(folder: Path) -> None:
    real = draw_all(folder.parent / "pool", {"one": 2, "two": 1})
    folder.mkdir()
    (folder / "a").symlink_to(real / "one")
    (folder / "b").mkdir()
    (folder / "b" / "x.png").symlink_to(real / "two" / "0.png")
    assert len(bring(folder)) == 3
    shutil.rmtree(folder.parent / "data")
    (folder / "b" / "up").symlink_to(folder)
    assert "b/up is a link to a folder that it lies in; remove it" in refused(folder)
    (folder / "b" / "up").unlink()
    (folder / "b" / "gone.png").symlink_to("nowhere")
    assert "b/gone.png: cannot be read (No such file or directory)" in refused(folder)


def test_a_pipe_is_no_image(folder: Path) -> None:
    draw_all(folder, {"a": 1, "b": 1})
    os.mkfifo(folder / "a" / "p.png")
    assert len(bring(folder)) == 2


# --- colours -------------------------------------------------------------------------------------------------------


def test_grey_where_no_image_has_a_coloured_pixel(folder: Path) -> None:
    draw_all(folder, {"a": 2, "b": 2})
    grey = Image.open(folder / "a" / "0.png")
    grey.convert("RGB").save(folder / "b" / "grey.png")
    assert bring(folder).images.shape == (5, SIDE, SIDE, 1)
    assert bring(folder, colour="rgb").images.shape == (5, SIDE, SIDE, 3)
    one = np.asarray(grey.convert("RGB")).copy()
    one[3, 3, 2] ^= 1
    Image.fromarray(one).save(folder / "a" / "tinted.png")
    loaded = bring(folder)
    assert loaded.images.shape == (6, SIDE, SIDE, 3)
    np.testing.assert_array_equal(loaded.images[2], one)
    np.testing.assert_array_equal(loaded.images[0], np.repeat(np.asarray(grey)[..., None], 3, axis=2))
    luma = bring(folder, colour="grey")
    assert luma.images.shape == (6, SIDE, SIDE, 1)
    np.testing.assert_array_equal(luma.images[2, ..., 0], np.asarray(Image.fromarray(one).convert("L")))


def test_a_window_for_more_than_8_bits_and_for_nothing_else(folder: Path) -> None:
    draw_all(folder, {"a": 1, "b": 1})
    deep = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 65
    Image.fromarray(deep).save(folder / "a" / "deep.png")
    assert "1 of 3 pictures have more than 8 bits a pixel, with values from 0 to 4095" in refused(folder)
    assert "`window: [0, 4095]`" in refused(folder, skip_broken=True)
    loaded = bring(folder, window=[0, 4095])
    np.testing.assert_array_equal(loaded.images[1, ..., 0], np.rint(deep * (255 / 4095)))
    assert "of more than 8 bits, 0 to 4095 are 0 to 255" in loaded.about["note"]
    shutil.rmtree(folder.parent / "data")
    (folder / "a" / "deep.png").unlink()
    assert "`window` has no meaning here" in refused(folder, window=[0, 4095])


# --- broken files --------------------------------------------------------------------------------------------------


def test_broken_files_are_named_and_stop_the_fetch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_all(folder, {"a": 8, "b": 2})
    for i in range(7):
        (folder / "a" / f"{i}.png").write_bytes(b"" if i else b"not a picture")
    message = refused(folder)
    assert "lesions: 7 of 10 files cannot be used:\n" in message
    assert "\n  a/0.png: not a PNG, JPEG, TIFF or WebP, whatever its name says\n  a/1.png: empty\n" in message
    assert "a/5.png" not in message
    assert message.endswith("… and 2 more\nMend or remove them, or write `skip_broken: true` to leave them out.")
    monkeypatch.setattr(reading_module, "MOST_BYTES", 12)
    assert "a/0.png: 13 bytes, more than 12" in refused(folder)


def test_broken_files_are_skipped_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw_all(folder, {"a": 3, "b": 2})
    whole = bring(folder)
    cut = folder / "a" / "1.png"
    cut.write_bytes(cut.read_bytes()[:60])
    loaded = bring(folder, skip_broken=True)
    np.testing.assert_array_equal(loaded.images, np.delete(whole.images, 1, axis=0))
    assert loaded.labels.tolist() == [0, 0, 1, 1]
    assert (loaded.about["skipped"], whole.about["skipped"]) == (1, 0)
    assert "1 image broken and left out" in loaded.about["note"]
    assert "1 image broken and left out: a/1.png" in caplog.text
    shutil.rmtree(folder.parent / "data")
    for name in ("b/0.png", "b/1.png"):
        (folder / name).write_bytes(b"")
    assert "every image of b is broken" in refused(folder, skip_broken=True)
    for path in folder.glob("a/*"):
        path.write_bytes(b"")
    assert "none of 5 files can be used; the first: a/0.png: empty" in refused(folder, skip_broken=True)


def test_copies_and_small_pictures_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw_all(folder, {"a": 3, "b": 2})
    shutil.copy(folder / "a" / "0.png", folder / "a" / "copy.png")
    shutil.copy(folder / "a" / "1.png", folder / "b" / "other class.png")
    note = bring(folder, size=9).about["note"]
    assert (
        "; 7 images smaller than 9 pixels and enlarged; 2 images byte for byte copies of others; 1 image there " in note
    )
    assert "folds would test on what they trained on" in caplog.text


# --- labels from a CSV ---------------------------------------------------------------------------------------------


LABELS = {"path": "labels.csv", "file": "image", "label": "dx"}


def write(folder: Path, *rows: str, name: str = "labels.csv", header: str = "image,dx") -> Path:
    path = folder.parent / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_csv_labels_the_files(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw_all(folder, {"": 3, "more": 2})
    write(folder, "0,nv", "1.png,mel")
    assert "labels.csv: '0' can mean 0.png or more/0.png: write the folder" in refused(folder, labels=LABELS)
    (folder / "more" / "0.png").rename(folder / "more" / "9.png")
    table = write(folder, "lesions/more/1.png,nv", "2,mel", "0.png,nv", "\nmore/9,mel", "2,mel")
    loaded = bring(folder, labels=LABELS)
    assert loaded.class_names == ("mel", "nv")
    assert loaded.labels.tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(loaded.images[3, ..., 0], pixels(folder / "more" / "9.png")[0])
    assert "1 image not listed with a label and left out" in loaded.about["note"]
    md5 = hashlib.md5(table.read_bytes()).hexdigest()
    assert loaded.about["checksum"]["labels.csv"] == md5
    pinned = bring(folder, labels={**LABELS, "md5": md5})
    assert pinned.about["checksum"] == loaded.about["checksum"]


def test_labels_with_split_folders(folder: Path) -> None:
    draw_all(folder, {"test": 1, "train": 2})
    write(folder, "test/0,a", "train/0,a", "train/1,b")
    loaded = bring(folder, labels=LABELS)
    assert loaded.parts.tolist() == ["train", "train", "test"]
    assert loaded.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["0,a", "1,b", "7,b", "8.png,a"], "labels.csv: 2 of 4 rows name no image that is there: 7, 8.png; an id is"),
        (["0,a", "1,b", "0.png,b"], "labels.csv, line 4: 0.png is 'b' here and 'a' further up"),
        (["0,a", "1,"], "labels.csv, line 3: dx is empty (1 such rows)"),
        (["0,a", "1"], "labels.csv, line 3: 1 fields, the header has 2"),
        (["0,a", "1,a"], "one class only: a"),
        ([], "labels.csv: no rows"),
    ],
)
def test_labels_that_do_not_fit(folder: Path, rows: list[str], words: str) -> None:
    draw_all(folder, {"": 3})
    write(folder, *rows)
    assert words in refused(folder, labels=LABELS)


def test_a_column_that_is_not_there(folder: Path) -> None:
    draw_all(folder, {"": 3})
    write(folder, "0,a")
    message = refused(folder, labels={**LABELS, "label": "diagnosis"})
    assert "labels.csv: no column 'diagnosis'; its columns are image, dx" in message


# --- by what a folder is known -------------------------------------------------------------------------------------


def digest_by_hand(folder: Path) -> str:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{name}\0{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def test_the_digest_is_over_names_and_bytes(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw_all(folder, {"train/a": 2, "train/b": 1, "test/a": 1})
    with caplog.at_level(logging.INFO):
        loaded = bring(folder)
    digest = digest_by_hand(folder)
    assert loaded.about["checksum"] == {"lesions": digest}
    assert f"`digest: {digest}` beside its path in params.yaml would pin them" in caplog.text
    pinned = bring(folder, digest=digest)
    assert pinned.about == loaded.about, "pinned or not: the same set"
    shutil.rmtree(folder.parent / "data")
    for change in (
        lambda: (folder / "train" / "a" / "0.png").rename(folder / "train" / "a" / "9.png"),
        lambda: draw(folder / "train" / "a" / "9.png", seed=77),
        lambda: draw(folder / "train" / "a" / "new.png", seed=78),
        lambda: (folder / "train" / "a" / "new.png").rename(folder / "train" / "b" / "new.png"),
    ):
        change()
        message = refused(folder, digest=digest)
        assert f"have the digest {digest_by_hand(folder)}, expected {digest}: files were added, removed" in message
        digest = digest_by_hand(folder)


def test_other_files_than_when_fetched_are_noticed_without_reading_them(folder: Path) -> None:
    from qlcnet.config import FolderSource
    from qlcnet.data.search_path import Fetcher

    draw_all(folder, {"a": 2, "b": 1})
    about = bring(folder).about
    source = FolderSource.model_validate({"kind": "folder", "path": "lesions", "size": SIDE})

    def changed() -> bool:
        return source_module.has_changed(source, about, Fetcher(Data(), folder.parent))

    assert not changed()
    (folder / "a" / "notes.txt").write_text("no image")
    assert not changed()
    draw(folder / "b" / "new.png")
    assert changed()
    shutil.rmtree(folder)
    assert not changed(), "what was fetched is enough"


def test_a_few_pictures_are_begun_before_one_is_taken() -> None:
    """So memory stays flat, however slow one file is."""
    begun = []

    class Pool:
        def submit(self, work: Any, item: int) -> Future[int]:
            begun.append(item)
            future: Future[int] = Future()
            future.set_result(work(item))
            return future

    results = reading_module._in_order(Pool(), lambda item: -item, range(9), 4)  # type: ignore[arg-type]
    assert next(results) == 0
    assert begun == [0, 1, 2, 3]
    assert list(results) == [-i for i in range(1, 9)]


GROUPS = {"path": "patients.csv", "column": "patient", "id": "file"}


def test_groups_go_by_file_name(folder: Path) -> None:
    """In any order, each name written as somebody liked; rows of images that are not here do not matter."""
    draw_all(folder, {"test/a": 1, "test/b": 1, "train/a": 2, "train/b": 1})
    places = ["test/b/0,p2", "lesions/train/a/1.png,p2", "elsewhere/9,p9", "train/b/0.png,p1", "train\\a\\0,p1"]
    table = write(folder, *places, "test/a/0,p3", name="patients.csv", header="file,patient")
    loaded = bring(folder, groups=GROUPS)
    assert loaded.groups is not None
    assert loaded.groups.tolist() == [0, 1, 0, 2, 1]  # train/a/0, train/a/1, train/b/0, test/a/0, test/b/0
    assert loaded.about["groups"] == {"column": "patient", "file": "patients.csv", "count": 3, "matched": "id"}
    assert loaded.about["checksum"]["patients.csv"] == hashlib.md5(table.read_bytes()).hexdigest()
    (folder / "train" / "a" / "0.png").write_bytes(b"")
    skipped = bring(folder, groups=GROUPS, skip_broken=True)
    assert skipped.groups is not None
    assert skipped.groups.tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a/0,1", "a/1,1"], "patients.csv: 1 of 3 images have no row: b/0.png"),
        (["a/0,1", "a/1,1", "0,2"], "patients.csv: '0' can mean a/0.png or b/0.png: write the folder and the ending"),
        (["a/0,1", "a/1,1", "b/0,2", "a/0.png,2"], "patients.csv: 'a/0' and 'a/0.png' both mean a/0.png"),
        (["a/0,1", "a/1,", "b/0,2"], "patients.csv, line 3: patient is empty (1 such rows)"),
    ],
)
def test_groups_that_do_not_fit_are_refused_before_a_picture_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: list[str], words: str
) -> None:
    draw_all(folder, {"a": 2, "b": 1})
    write(folder, *rows, name="patients.csv", header="file,patient")
    monkeypatch.setattr(source_module, "read_all", None)
    assert words in refused(folder, groups=GROUPS)


def test_one_csv_has_labels_and_groups(folder: Path) -> None:
    draw_all(folder, {"": 4})
    write(folder, "3,x,1", "2,y,1", "1,x,2", "0,y,2", header="image,dx,patient")
    groups = {"path": "labels.csv", "column": "patient", "id": "image"}
    loaded = bring(folder, labels=LABELS, groups=groups)
    assert loaded.labels.tolist() == [1, 0, 1, 0]
    assert loaded.groups is not None
    assert loaded.groups.tolist() == [1, 1, 0, 0]


def test_groups_without_a_column_of_names_are_refused() -> None:
    source = {"kind": "folder", "path": "x", "size": 8, "groups": {"path": "p.csv", "column": "patient"}}
    with pytest.raises(ValueError, match="name the column with the files' names"):
        Task.model_validate({"source": source})
