"""Whether the files of a fold folder are the ones that its fit left: digests in config.json, and its own identity.

A fit's folder is believed only where they agree: a flipped bit, a prediction file of another model or a config that was
edited are found when the fit is linked, exported, imported or reported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from qlcnet.config import fingerprint
from qlcnet.fit.fold_folder import CONFIG, FILES, PROVENANCE
from qlcnet.fit.identity import FIELDS


def problem_of(files: Mapping[str, bytes], names: Collection[str] = FILES) -> str | None:
    """What is wrong with the files of a fit, given by name; None where nothing is. `names`: those to be looked at.

    provenance.json, where there is one, vouches for config.json, and config.json for the others. Fits of a time before
    digests were written have none: of them only the files' presence and JSON are checked.
    """
    for name in names:
        if name not in files:
            return f"{name} is missing"
    try:
        config = json.loads(files[CONFIG])
        vouched = json.loads(files.get(PROVENANCE, b"{}")).get("config")
        digests = config.get("files", {})
    except (ValueError, AttributeError) as error:
        return f"{CONFIG} or {PROVENANCE} is damaged ({error})"
    if vouched is not None and vouched != digest_of(files[CONFIG]):
        return f"{CONFIG} is not what was written"
    for name in names:
        if name in digests and digests[name] != digest_of(files[name]):
            return f"{name} is not what was written"
    if set(FIELDS) <= config.keys() and identity_of(config) != config.get("fingerprint"):
        return f"{CONFIG} does not have the fingerprint that it states"
    return None


def problem_in(folder: Path, names: Collection[str] = FILES) -> str | None:
    """The same of a folder. Raises OSError where a file that is there cannot be read."""
    wanted = {*names, CONFIG, PROVENANCE}
    return problem_of({name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}, names)


def digest_of(content: bytes) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def identity_of(config: Mapping[str, Any]) -> str:
    """The fingerprint of the identity that a config.json holds."""
    return fingerprint({name: config[name] for name in FIELDS})
