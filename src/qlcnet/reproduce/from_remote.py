"""What DVC's remote has of a commit: fetched into the cache of its clone, which is removed with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from qlcnet.reproduce.lock import LOCAL_CONFIG, dvc_config
from qlcnet.reproduce.workplace import Workplace

REMOTE = re.compile(r"""^'?remote "(.+)"'?$""")  # DVC quotes the names of sections in its own way


def remote_of(root: Path) -> str | None:
    """Name of the remote that DVC fetches from in the project of `root`; None where none is configured."""
    config = dvc_config(root)
    names = [match[1] for section in config.sections() if (match := REMOTE.match(section))]
    default: str = config.get("core", "remote", fallback=names[0] if len(names) == 1 else "")
    return default if default in names else None


def fetch_outputs(root: Path, place: Workplace, outputs: Sequence[str]) -> str:
    """Fetch outputs of the clone's dvc.lock from the remote of the project in `root`; what went wrong, or nothing.

    The clone is given the project's addresses and what it knows of the remotes, in a file that this user alone reads.
    """
    config, local = dvc_config(root), place.clone / ".dvc" / LOCAL_CONFIG
    for section in config.sections():
        url = config.get(section, "url", fallback="") if REMOTE.match(section) else ""
        if url and "://" not in url and not Path(url).is_absolute():  # relative to the configuration that names it
            config.set(section, "url", str((root / ".dvc" / url).resolve()))
    config.remove_section("cache")
    local.parent.mkdir(exist_ok=True)
    local.touch(mode=0o600)
    with local.open("w", encoding="utf-8") as file:
        config.write(file)
    code, said = place.run("fetch", "--quiet", *outputs, module="dvc", quiet=True)
    if not code:
        return ""
    return f"DVC's remote {remote_of(root)}: {(said.strip().splitlines() or ['no message'])[-1]}"
