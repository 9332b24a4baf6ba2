"""Addresses as they may be shown: what prints, logs or keeps a text that can hold one passes it through here."""

from __future__ import annotations

import re

# without spaces; a password can hold any other character, so the end of an address in a text is not known better
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\S*)")
# of an address whose beginning a library cut off: `Max retries exceeded with url: /?token=…`
_QUERY = re.compile(r"(?<=[\w/])\?[^\s=?]+=\S*")
_FILES = re.compile(r"(sqlite|file)\b")  # schemes of paths: an @ in one is no password's end
_AFTER = re.compile(r"[\"'`)\]}>,;:.]*$")  # what a sentence puts behind an address


def without_password(text: str) -> str:
    """The text with each address cut: without user and password, query and fragment.

    All up to the last @ goes, since passwords with a bare / or @ are read in several ways: of `http://a@b/@c` only
    `http://c` is left. Too much is no harm, a part of a password is.
    """
    return _QUERY.sub(lambda found: _AFTER.findall(found[0])[0], _ADDRESS.sub(_cut, text))


def _cut(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    after = _AFTER.findall(rest)[0]
    rest = rest[: len(rest) - len(after)]
    if not _FILES.match(scheme):
        rest = rest.rpartition("@")[2]
    return f"{scheme}://{re.split('[?#]', rest)[0]}{after}"
