"""What added channels hold that the image does not: one row a set, its channels folded away."""

from __future__ import annotations

from qlcnet.data.mechanism import LINEAR, Mechanism
from qlcnet.report.content import Block, Cell, Details, Heading, Table, Text, count, number
from qlcnet.report.study import Study

Named = tuple[str, Mechanism]
MOST_TOLD = 4  # sets with a sentence of their own; more of them are a table alone


def mechanism(study: Study) -> list[Block]:
    """Nothing where no channels are stored, or all were stored before they were measured."""
    many = len(study.tasks) > 1
    sets: list[Named] = [
        (f"{task.name}: {name}" if many else name, found)
        for task in study.tasks.values()
        for name, found in task.mechanisms.items()
    ]
    if not sets:
        return []
    details = Details("Mechanism, channel by channel", [_channels(sets)], is_open=False)
    words = [Text(_words(*one)) for one in sets] if len(sets) <= MOST_TOLD else []
    return [Heading("Mechanism of the added channels"), *words, _sets(sets), details]


def _words(name: str, found: Mechanism) -> str:
    shares = [share for share in found.linear if share is not None]
    if not shares:
        return f"**{name}**: not compared with the image: its channels are constant, or lie on another grid."
    return (
        f"**{name}**: a linear filter of the 2 x 2 patch makes {100 * sum(shares) / len(shares):.1f} % of what its "
        f"channels vary by; {found.linear_channels} of {len(found.sd)} are linear to within {100 * (1 - LINEAR):.0f} %."
    )


def _sets(sets: list[Named]) -> Table:
    headers = ["Channels", "Number", "Effective rank", "Rank added", "Dead", "Duplicates", "|r| with image",
               "Not linear", "High frequencies", "Of grey"]  # fmt: skip
    rows: list[list[Cell | str]] = [
        [
            name,
            count(len(found.sd)),
            number(found.effective_rank, 2),
            _maybe(found.added, 2),
            count(len(found.dead)),
            count(len(found.duplicates) + len(found.of_image)),
            _maybe(max((r for r in found.with_image if r is not None), default=None)),
            _maybe(_mean([1 - share for share in found.linear if share is not None])),
            _maybe(_mean([bands[2] for bands in found.bands if bands is not None])),
            _maybe(found.grey_bands[2] if found.grey_bands else None),
        ]
        for name, found in sets
    ]
    images = max(found.images for _, found in sets)
    caption = (
        f"Of up to {images} images, evenly spaced. Effective rank: exp of the entropy of the eigenvalues of the "
        "channels' correlation matrix; rank added: that of image and channels less the image's (below 0: they repeat "
        "it). Duplicates: pairs of channels that are equal but for scale, and channels that are a pixel. Not linear: "
        f"mean 1 − R² of a regression on the pixels of the 2 x 2 patch (linear: R² from {LINEAR}). "
        "High frequencies: share of the power "
        "from 1/4 cycle a pixel, beside that of the grey image."
    )
    return Table(headers, rows, caption, stacks=True)


def _channels(sets: list[Named]) -> Table:
    headers = ["Channels", "Channel", "SD", "|r| with image", "R² on the patch", "Eigenvalue", "Low", "Middle", "High"]
    rows: list[list[Cell | str]] = []
    for name, found in sets:
        for channel, sd in enumerate(found.sd):
            eigenvalue = found.eigenvalues[channel] if channel < len(found.eigenvalues) else None
            bands = found.bands[channel] or (None, None, None)
            measured = [_maybe(one) for one in (found.with_image[channel], found.linear[channel], eigenvalue, *bands)]
            rows.append([name, count(channel), number(sd), *measured])
    caption = (
        "Eigenvalues are the set's, largest first, and belong to no one channel. Low, middle, high: shares "
        "of the power below 1/8, up to 1/4 and from 1/4 cycle a pixel."
    )
    return Table(headers, rows, caption, sortable=False, stacks=True)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _maybe(value: float | None, digits: int = 3) -> Cell | str:
    return "–" if value is None else number(value, digits)
