"""The search path: its order, files that are not what they are called, and messages that say what to do."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from qlcnet.config import Data
from qlcnet.data.download import KnownFile
from qlcnet.data.imageset import DataError
from qlcnet.data.search_path import Fetcher, cache_folder, search_places
from tests.data.server import BODY, HASTE, Server, answers, known

FILE = known(folder="derma", urls=("http://127.0.0.1:1/set.npz",))


def put(folder: Path, data: bytes = BODY, name: str = "set.npz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name


def fetcher(tmp_path: Path, *places: Path | str, mirrors: tuple[str, ...] = ()) -> Fetcher:
    return Fetcher(Data(search_path=tuple(map(str, places)), mirrors=mirrors), tmp_path / "project", HASTE)


def test_places_come_from_params_then_environment_then_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLCNET_DATA", os.pathsep.join([str(tmp_path / "env"), "", "beside"]))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    places = search_places(Data(search_path=("../near", "~/mine", "../near")), tmp_path / "project")
    home = tmp_path / "home"
    assert places[:4] == (tmp_path / "near", home / "mine", tmp_path / "env", tmp_path / "project" / "beside")
    assert places.index(home / ".medmnist") < places.index(tmp_path / "torch") < places.index(cache_folder())
    assert len(set(places)) == len(places)


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder({"HOME": "/h", "QLCNET_CACHE": "/c", "XDG_CACHE_HOME": "/x"}) == Path("/c")
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/qlcnet")
    monkeypatch.setenv("HOME", "/h")
    assert cache_folder({}) == Path("/h/.cache/qlcnet")


def test_the_first_right_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = put(tmp_path / "home" / ".medmnist")
    assert fetcher(tmp_path).find(FILE) == last
    middle = put(tmp_path / "env" / "derma")
    monkeypatch.setenv("QLCNET_DATA", str(tmp_path / "env"))
    assert fetcher(tmp_path).find(FILE) == middle
    first = put(tmp_path / "params")
    assert fetcher(tmp_path, tmp_path / "params").find(FILE) == first


def test_wrong_files_are_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong, right = put(tmp_path / "a", b"wrong"), put(tmp_path / "b")
    (tmp_path / "c" / "set.npz").mkdir(parents=True)
    with caplog.at_level(logging.WARNING, "qlcnet"):
        assert fetcher(tmp_path, tmp_path / "c", tmp_path / "a", tmp_path / "b").bring(FILE) == right
    assert f"{wrong} has MD5 2bda2998d9b0ee197da142a0447f6725, expected {FILE.md5}: not used" in caplog.text
    assert "is a folder, not a file" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    closed = put(tmp_path / "a")
    closed.chmod(0)
    put(tmp_path / "b")
    (tmp_path / "b").chmod(0)
    right = put(tmp_path / "c")
    search = fetcher(tmp_path, tmp_path / "a", tmp_path / "b", tmp_path / "c")
    try:
        assert search.bring(FILE) == right
    finally:
        (tmp_path / "b").chmod(0o700)
    assert f"{closed} cannot be read (Permission denied)" in search.rejected
    assert f"{tmp_path / 'b' / 'set.npz'} cannot be read (Permission denied)" in search.rejected


def test_errors_of_the_file_system_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a")
    right = put(tmp_path / "b")
    from qlcnet.data import search_path as module

    honest = module.md5_of

    def fails(path: Path) -> str:
        if path.parent.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return honest(path)

    monkeypatch.setattr(module, "md5_of", fails)
    search = fetcher(tmp_path, tmp_path / "a", tmp_path / "b")
    assert search.bring(FILE) == right
    assert search.rejected == [f"{tmp_path / 'a' / 'set.npz'} cannot be read (Permission denied)"]


def test_offline_says_which_file_to_put_where(tmp_path: Path) -> None:
    wrong = put(tmp_path / "a", b"wrong")
    with pytest.raises(DataError) as error:
        fetcher(tmp_path, tmp_path / "a", "missing", mirrors=("http://127.0.0.1:2/m/",)).bring(FILE)
    message = str(error.value)
    for part in (
        f"{wrong} has MD5 2bda2998d9b0ee197da142a0447f6725, expected {FILE.md5}",
        "http://127.0.0.1:1/set.npz: ",
        "http://127.0.0.1:2/m/set.npz: ",
        f"put set.npz (MD5 {FILE.md5}) from http://127.0.0.1:1/set.npz into one of these folders",
        f"{tmp_path / 'a'}\n",
        f"{tmp_path / 'project' / 'missing'} (not there yet)",
        "data.search_path",
        "QLCNET_DATA",
        "data.mirrors",
    ):
        assert part in message


def test_a_mirrors_password_is_not_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Tried to download:\n(.*\n)*  http://127\.0\.0\.1:2/m/set\.npz: ") as error:
        fetcher(tmp_path, mirrors=("http://user:geheim@127.0.0.1:2/m/",)).bring(FILE)
    assert "geheim" not in str(error.value)


def test_mirrors_come_after_the_official_address(tmp_path: Path, server: Server) -> None:
    server.script = [answers(404)]
    file = known(folder="derma", urls=(f"{server.base}/official/set.npz?download=1",))
    path = fetcher(tmp_path, mirrors=(f"{server.base}/a/", f"{server.base}/b")).bring(file)
    assert [request[0] for request in server.requests] == ["/official/set.npz?download=1", "/a/set.npz"]
    assert path == tmp_path / "cache" / "derma" / "set.npz"
    assert fetcher(tmp_path).bring(file) == path
    assert len(server.requests) == 2, "what was downloaded is found"


def test_an_absolute_path_is_one_path(tmp_path: Path) -> None:
    path = put(tmp_path / "mine", b"wrong", "own.npz")
    search = fetcher(tmp_path)
    with pytest.raises(DataError, match=r"put the file with MD5 .* there, or correct the path"):
        search.bring(known(name=str(path)))
    assert len(search.rejected) == 1
    put(tmp_path / "mine", BODY, "own.npz")
    assert search.bring(known(name=str(path))) == path


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, server: Server) -> None:
    put(tmp_path, b"a file", "cache")
    with pytest.raises(DataError, match=r"set\.npz cannot be stored: .*cache.*QLCNET_CACHE"):
        fetcher(tmp_path).bring(known(folder="derma", urls=(server.url,)))


def test_an_unpinned_file_comes_with_its_md5(tmp_path: Path) -> None:
    path = put(tmp_path / "project", BODY, "groups.csv")
    assert fetcher(tmp_path).bring_own("groups.csv", None) == (path, FILE.md5)
    with pytest.raises(DataError, match=r"no file other\.csv on the search path"):
        fetcher(tmp_path).bring_own("other.csv", None)


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    for name in (str(tmp_path / "x.npz"), "/dev/zero"):
        fetcher = Fetcher(Data(), tmp_path)
        with pytest.raises(DataError, match="is no regular file"):
            fetcher.bring(KnownFile(name, "0" * 32))
        with pytest.raises(DataError, match="is no regular file"):
            fetcher.bring_own(name, None)
