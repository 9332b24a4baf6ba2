"""Downloads from a server that breaks off, lies, ignores ranges, falls silent: whole and right, or not at all."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from qlcnet.data import download as module
from qlcnet.data.download import DownloadError, KnownFile, download
from qlcnet.data.imageset import DataError
from tests.data.server import (
    BODY,
    HASTE,
    Server,
    announces,
    answers,
    drips,
    drops_after,
    falls_silent,
    honest,
    ignores_range,
    known,
    lying_range,
    never_ends,
    no_length,
    wrong_range,
)

WRONG = b"wrong" * 1000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "set.npz"


def fails(urls: list[str], target: Path, file: KnownFile | None = None, patience: object = HASTE) -> str:
    with pytest.raises(DownloadError) as error:
        download(file or known(), urls, target, patience)  # type: ignore[arg-type]
    assert not target.exists(), "a file that is not verified must not get its final name"
    return str(error.value)


def left_behind(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} - {target.name, target.name + ".lock"}


def test_a_whole_file_arrives_and_nothing_else_stays(server: Server, target: Path) -> None:
    assert download(known(), [server.url], target, HASTE) == target
    assert target.read_bytes() == BODY
    assert not left_behind(target)
    assert server.requests == [("/set.npz?download=1", None, None)]


def test_a_verified_target_is_not_asked_for_again(server: Server, target: Path) -> None:
    for _ in range(2):
        download(known(), [server.url], target, HASTE)
    assert len(server.requests) == 1


def test_a_spoilt_target_is_replaced(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(WRONG)
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY


def test_a_broken_connection_is_resumed_where_it_broke(server: Server, target: Path) -> None:
    server.script = [drops_after(300_000), drops_after(300_000)]
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY
    assert [range_ for _, range_, _ in server.requests] == [None, "bytes=300000-", "bytes=600000-"]
    assert server.requests[1][2] == '"one"'


def test_progress_is_not_counted_as_failure(server: Server, target: Path) -> None:
    server.script = [drops_after(100_000)] * 9  # three times the tries that bring nothing
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY


def test_the_next_run_resumes_what_a_killed_one_left(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("set.npz.part").write_bytes(BODY[:700_000])
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY
    assert server.requests[0][1] == "bytes=700000-"


def test_a_complete_part_needs_no_server(target: Path) -> None:
    target.parent.mkdir()
    target.with_name("set.npz.part").write_bytes(BODY)
    download(known(), ["http://127.0.0.1:1/"], target, HASTE)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("part", [WRONG, BODY + b"more", b"\0" * len(BODY)], ids=["other", "longer", "zeroes"])
def test_a_part_that_is_not_the_start_is_thrown_away(server: Server, target: Path, part: bytes) -> None:
    target.parent.mkdir()
    target.with_name("set.npz.part").write_bytes(part)
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY


def test_a_changed_file_is_not_glued_to_the_old_one(server: Server, target: Path) -> None:
    server.body = WRONG * 100
    server.script = [drops_after(1000), answers(404)]
    fails([server.url], target)
    server.body, server.etag = BODY, '"two"'
    download(known(), [server.url], target, HASTE)
    assert server.requests[-1][1:] == ("bytes=1000-", '"one"')
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("behaviour", [ignores_range, wrong_range, lying_range, answers(416)])
def test_servers_that_get_ranges_wrong(server: Server, target: Path, behaviour: object) -> None:
    server.script = [drops_after(300_000), behaviour]  # type: ignore[list-item]
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_errors_that_pass_are_waited_for(server: Server, target: Path, status: int) -> None:
    server.script = [answers(status), answers(status)]
    download(known(), [server.url], target, HASTE)
    assert len(server.requests) == 3


def test_waiting_doubles_and_heeds_retry_after(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    server.script = [answers(503), answers(503), answers(503), answers(429, Retry_After=7)]
    download(known(), [server.url], target, replace(HASTE, tries=5, first_wait=1, longest_wait=60))
    assert waits == [1, 2, 4, 8]
    waits.clear()
    target.unlink()
    server.script = [answers(429, Retry_After=7), answers(429, Retry_After=3600)]
    download(known(), [server.url], target, replace(HASTE, tries=5, first_wait=1, longest_wait=60))
    assert waits == [7, 60]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_errors_that_stay_are_not_repeated(server: Server, target: Path, status: int) -> None:
    server.script = [answers(status)] * 9
    assert f"HTTP {status}" in fails([server.url], target)
    assert len(server.requests) == 1
    assert not left_behind(target)


def test_the_next_mirror_is_tried_and_continues_the_part(server: Server, target: Path) -> None:
    server.script = [drops_after(300_000), answers(404)]
    download(known(), [server.url, f"{server.base}/mirror/set.npz"], target, HASTE)
    assert server.requests[-1] == ("/mirror/set.npz", "bytes=300000-", None), "an ETag is its own server's"
    assert target.read_bytes() == BODY


def test_wrong_bytes_say_both_checksums(server: Server, target: Path) -> None:
    server.body = WRONG
    message = fails([server.url, server.url], target)
    assert message.count(hashlib.md5(WRONG).hexdigest()) == 2
    assert message.count(known().md5) == 2
    assert not left_behind(target)
    assert len(server.requests) == 4, (
        "once whole, and once whether anything follows: wrong bytes are not asked for again"
    )


def test_after_wrong_bytes_come_the_right_ones(server: Server, target: Path) -> None:
    server.script = [answers(200, WRONG)]
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY


def test_wrong_bytes_at_one_address_do_not_spoil_the_next(server: Server, target: Path) -> None:
    server.script = [answers(200, WRONG)] * 2
    download(known(), [server.url, server.url], target, HASTE)
    assert target.read_bytes() == BODY


def test_a_web_page_is_called_one(server: Server, target: Path) -> None:
    page = answers(200, b"<!DOCTYPE html>Please log in", Content_Type="text/html; charset=utf-8")
    server.script = [drops_after(1000), page]
    assert "web page" in fails([server.url], target)
    assert target.with_name("set.npz.part").read_bytes() == BODY[:1000], "a proxy's page costs no bytes already here"


def test_no_length_is_no_obstacle(server: Server, target: Path) -> None:
    server.script = [no_length(BODY)]
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY


def test_a_short_body_without_length_is_continued(server: Server, target: Path) -> None:
    server.script = [no_length(BODY[:5000])]
    download(known(), [server.url], target, HASTE)
    assert server.requests[1][1] == "bytes=5000-"
    assert target.read_bytes() == BODY


def test_a_wrong_body_without_length_ends_with_both_checksums(server: Server, target: Path) -> None:
    server.script = [no_length(WRONG), no_length(WRONG)]
    message = fails([server.url], target)
    assert hashlib.md5(WRONG).hexdigest() in message
    assert known().md5 in message


@pytest.mark.parametrize("length", [len(BODY) + 1000, len(BODY) - 1000])
def test_a_length_that_lies(server: Server, target: Path, length: int) -> None:
    server.script = [announces(length)]
    download(known(), [server.url], target, HASTE)
    assert target.read_bytes() == BODY


def test_more_bytes_than_the_file_can_have(server: Server, target: Path) -> None:
    file = known(most_bytes=2 * len(BODY))
    server.script = [never_ends]
    assert "more than the 2,048,000 bytes" in fails([server.url], target, file)
    server.script = [announces(10**12)]
    assert "announces 1,000,000,000,000 bytes" in fails([server.url], target, file)


def test_a_disk_too_small_is_said_before_the_first_byte(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"needs 1,024,000 more bytes.*QLCNET_CACHE"):
        download(known(), [server.url], target, HASTE)


def test_silence_and_drips_do_not_hang(server: Server, target: Path) -> None:
    server.script = [falls_silent]
    download(known(), [server.url], target, replace(HASTE, silence=0.2))
    assert target.read_bytes() == BODY
    target.unlink()
    server.script = [drips]
    download(known(), [server.url], target, replace(HASTE, slow_window=0.2, slow_bytes=1000))
    assert target.read_bytes() == BODY


def test_what_failed_is_said_for_each_address(server: Server, target: Path) -> None:
    server.script = [answers(404)]
    urls = [server.url, "http://127.0.0.1:1/set.npz", "ftp://mirror/set.npz", "http://no-such-host.invalid/set.npz"]
    lines = fails(urls, target, patience=replace(HASTE, tries=1)).splitlines()
    assert [line.split(": ")[0].strip() for line in lines[1:]] == [f"{server.base}/set.npz", *urls[1:]]
    assert "refused" in lines[2]
    assert "0x" not in "".join(lines), "no object addresses in messages for people"


def test_a_mirrors_password_is_in_no_message_and_in_no_file(
    server: Server, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [drops_after(5000), answers(503), answers(404)]
    urls = [
        server.base.replace("//", "//user:geheim@") + "/set.npz?token=geheim",
        "http://user:geheim@127.0.0.1:1/set.npz",
        "http://user:ab/geheim@127.0.0.1:1/set.npz",  # not encoded: no library reads it, and says so
        "ftp://user:geheim@127.0.0.1/set.npz",
    ]
    said = fails(urls, target, patience=replace(HASTE, tries=2))
    assert f"{server.base}/set.npz: HTTP 404" in said
    assert "http://127.0.0.1:1/set.npz: " in said
    assert "trying again" in caplog.text
    assert "geheim" not in said + caplog.text
    kept = [path.read_text(errors="ignore") for path in target.parent.iterdir() if path.suffix == ".json"]
    assert len(kept) == 1
    assert "geheim" not in kept[0]


def bring(url: str, target: Path) -> bytes:
    return download(known(), [url], target, HASTE).read_bytes()


def test_processes_that_want_one_file_download_it_once(server: Server, target: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, context) as pool:
        results = list(pool.map(bring, [server.url] * 3, [target] * 3))
    assert results == [BODY] * 3
    assert len(server.requests) == 1


def test_the_part_survives_an_interruption(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    server.script = [drops_after(300_000)]
    with monkeypatch.context() as patch:
        patch.setattr(module.time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download(known(), [server.url], target, HASTE)
    server.script = [honest]
    download(known(), [server.url], target, HASTE)
    assert server.requests[-1][1] == "bytes=300000-"
    assert target.read_bytes() == BODY
