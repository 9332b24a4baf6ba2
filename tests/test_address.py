"""No part of a password is left of an address, wherever in a text it stands and whatever it holds."""

from __future__ import annotations

import pytest

from qlcnet.address import without_password


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://mlflow:geheim@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db"),
        ("postgresql://mlflow:ab/geheim@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db"),
        ("postgresql://mlflow:p@geheim@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db"),
        ("http://geheim@host/x", "http://host/x"),
        ("http://user:a?geheim#c@host/x?y=geheim#z", "http://host/x"),
        ("postgresql:///db?host=/run&password=geheim", "postgresql:///db"),
        ("Invalid url: 'http://u:ab/geheim@host:1/api', really.", "Invalid url: 'http://host:1/api', really."),
        ("tried (http://u:geheim@a/x) and http://u:geheim@b/y: 404", "tried (http://a/x) and http://b/y: 404"),
        (
            "retries exceeded with url: /?token=geheim/api&x=y (Caused by X)",
            "retries exceeded with url: / (Caused by X)",
        ),
        ("given ['http://u:geheim@host/x', 'name@home']", "given ['http://host/x', 'name@home']"),
        ("https://host/x.npz?download=1", "https://host/x.npz"),
    ],
)
def test_what_is_cut(text: str, shown: str) -> None:
    assert without_password(text) == shown
    assert "geheim" not in without_password(text)


@pytest.mark.parametrize(
    "text",
    [
        "tcp://10.0.0.1:8786",
        "sqlite:////home/me@work/mlruns/mlflow.db",
        "file:///home/me@work/x",
        "a worker died (out of memory?); accuracy=0.9, mail me@work.org",
        "https://[::1]:5000/x.npz",
    ],
)
def test_what_stays(text: str) -> None:
    assert without_password(text) == text
