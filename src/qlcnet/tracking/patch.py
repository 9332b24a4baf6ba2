"""Edits that no commit has, when a grid starts: kept with the runs as a patch, so that `reproduce` can make them again.

A patch is kept of the files that decide what a fit is, not of data or notes. Untracked ones are named, not stored. A
line that looks like a secret is not kept; the patch is then incomplete, says so, and is not applied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qlcnet import git

FILE = "uncommitted.patch"
LARGEST = 256 * 1024  # bytes
KEPT, PARTLY = "kept", "incomplete"
REMOVED = b"[a line that looks like a secret is not kept]"
HEAD = "# edits that were not committed when these fits began, to commit "
UNTRACKED = "# untracked, not kept: "
KEY_BEGINS, KEY_ENDS = (re.compile(rb"-----%s [A-Z ]*PRIVATE KEY" % word) for word in (b"BEGIN", b"END"))
# what stands before a secret, or is one
SECRETS = re.compile(
    rb"(?i)(pass(word|wd|phrase)?|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key)[\"']?\s*[:=]\s*[\"']?\S"
    rb"|://[^/\s@]+@"  # user and password of an address, or a token in their place
    rb"|\bauthorization\b|\bbearer\s+\S"
    rb"|\b(AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,})"
)


@dataclass(frozen=True)
class Uncommitted:
    """text: what is kept, with its head; None: nothing is. state: for people, and by its first word for programs."""

    state: str
    text: bytes | None = None


def uncommitted(root: Path, paths: tuple[str, ...]) -> Uncommitted | None:
    """The edits of `paths` below `root` that no commit has; None where there are none, or no repository."""
    commit, found = git.head(root), git.changes(root, paths)
    if commit is None or found is None or not (found[0] or found[1]):
        return None
    patch, untracked = found
    if len(patch) > LARGEST:
        size, most = len(patch) // 1024, LARGEST // 1024
        return Uncommitted(f"left out: {size} kB, and more than {most} kB are not kept; commit before you train")
    lines = patch.split(b"\n")
    secret = _secrets_in(lines)
    for i in secret:
        lines[i] = lines[i][:1] + REMOVED
    head = [f"{HEAD}{commit}", *(f"{UNTRACKED}{name}" for name in untracked)]
    text = "\n".join(head).encode() + b"\n" + b"\n".join(lines)
    lacks = [f"{len(secret)} lines that look like secrets"] * bool(secret)
    lacks += [f"{len(untracked)} untracked files"] * bool(untracked)
    return Uncommitted(f"{PARTLY}: without {' and '.join(lacks)}" if lacks else KEPT, text)


def _secrets_in(lines: list[bytes]) -> list[int]:
    """Which lines of a patch look like secrets: of a private key all, and what git repeats behind @@ too."""
    found, in_key = [], False
    for i, line in enumerate(lines):
        in_key = in_key or bool(KEY_BEGINS.search(line))
        if in_key or (line[:1] in (b"+", b"-", b" ", b"@") and SECRETS.search(line)):
            found.append(i)
        in_key = in_key and not KEY_ENDS.search(line)
    return found


def read_patch(text: bytes) -> tuple[str, bytes]:
    """Commit and patch of what `uncommitted` kept."""
    head, *rest = text.split(b"\n")
    while rest and rest[0].startswith(UNTRACKED.encode()):
        rest.pop(0)
    return head.decode().removeprefix(HEAD), b"\n".join(rest)
