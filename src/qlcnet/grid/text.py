"""Tables, times, sizes and counts as a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 20 s`, `5 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size_text(size: float) -> str:
    """Bytes as MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def count_text(count: int, what: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{count:,} {what}" + "s" * (count != 1)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned: names to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    is_number = [
        all(not row[i] or row[i][0].isdigit() or row[i][0] in "+-?" for row in rows[1:]) for i in range(len(widths))
    ]
    return "\n".join("  ".join(_aligned(row, widths, is_number)).rstrip() for row in rows)


def _aligned(row: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> Iterable[str]:
    return (cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(row, widths, is_number, strict=True))
