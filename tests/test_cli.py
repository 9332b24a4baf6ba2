"""The commands as typed: help with an example, exit codes, messages that say what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qlcnet.cli import build_parser, main
from tests.test_end_to_end import DIGITS, small

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    "fetch",
    "split",
    "quanvolve",
    "train",
    "report",
    "check",
    "study",
    "store",
    "plan",
    "rehearse",
    "track",
    "tune",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and studies/, outside of any repository."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(small("digits", DIGITS)))
    (tmp_path / "studies").mkdir()
    for preset in (ROOT / "studies").glob("*.yaml"):
        (tmp_path / "studies" / preset.name).write_text(preset.read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([command, "--help"])
    assert stop.value.code == 0
    assert f"Example: qlcnet {command}" in capsys.readouterr().out


def test_no_command_prints_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "fetch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fetch", "mnist"], "no task 'mnist' under `datasets` in params.yaml (there: digits)"),
        (["split", "digits"], "qlcnet fetch digits"),
        (["train", "digits"], "qlcnet fetch digits"),
        (["train", "digits", "--workers", "many"], "neither `auto` nor a number"),
        (["study", "use"], "which one?"),
        (["study", "use", "imagenet"], "no study 'imagenet'; there are: ablation, breastmnist"),
        (["store", "export"], "name an archive"),
        (["store", "import", "no.tar"], "no.tar"),
        (["track", "ui", "--port", "99999"], "--port 99999: ports go from 1 to 65535; choose another one"),
    ],
)
def test_a_mistake_is_one_message_and_a_failure(
    arguments: list[str], says: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    err = capfd.readouterr().err
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_a_password_is_in_no_message_nor_traceback(
    verbose: list[str], project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:geheim@127.0.0.1:9/?token=geheim")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["track", "sync", *verbose]) == 1
    err = capfd.readouterr().err
    assert "the tracking store http://127.0.0.1:9/ cannot be opened" in err
    assert ("Traceback" in err) == bool(verbose)
    assert "geheim" not in err


def test_messages_of_other_libraries_lose_their_passwords_too() -> None:
    says = "import logging, qlcnet.cli as c; c.main([]); c.main(['study', 'list']); "
    says += "logging.getLogger('urllib3').warning('retrying %s', 'http://user:geheim@host/x?token=geheim')"
    run = subprocess.run([sys.executable, "-c", says], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stderr == "retrying http://host/x\n"


def test_wrong_params_are_one_message(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "params.yaml").write_text(yaml.safe_dump({**small("digits", DIGITS), "sed": 1}))
    assert main(["fetch", "digits"]) == 1
    assert "sed: unknown key" in capfd.readouterr().err


def test_study_list_show_use(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "list"]) == 0
    listed = capsys.readouterr().out
    assert {line.split()[0]: line.split(": ", 1)[1] for line in listed.splitlines()} == {
        path.stem: path.read_text().splitlines()[0].split(": ", 1)[1] for path in (project / "studies").glob("*.yaml")
    }
    assert main(["study", "show", "breastmnist"]) == 0
    assert capsys.readouterr().out == (project / "studies/breastmnist.yaml").read_text()
    assert main(["study", "use", "breastmnist", "--force"]) == 0
    assert (project / "params.yaml").read_text() == (project / "studies/breastmnist.yaml").read_text()


def test_tune_searches_inner_folds_and_goes_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = small("digits", {**DIGITS, "protocol": {"kind": "pooled-cv", "folds": 3}})
    params["tuning"] = {"folds": 2, "space": {"training.batch_size": [16, params["training"].get("batch_size", 64)]}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    for command in ("fetch", "split", "quanvolve"):
        assert main([command, "digits"]) == 0
    for trials in ("2", "3", "3"):
        assert main(["tune", "digits", "--trials", trials, "--workers", "2", "--no-prune"]) == 0
        out = capsys.readouterr().out
        assert f"{trials} of {trials} trials settled ({trials} complete)" in out
        assert "optimistic, by about " in out
