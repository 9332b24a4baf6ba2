r"""Tables for LaTeX beside the CSV: booktabs, everything escaped, `\input` as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qlcnet.evidence.summary import Estimate, ModelSummary
from qlcnet.report.content import Context
from qlcnet.report.summary import limits, rounded
from qlcnet.report.words import counted

COLUMNS = (
    ("Accuracy", "accuracy"),
    ("Balanced accuracy", "balanced_accuracy"),
    ("Macro AUC", "auc_macro"),
    ("Micro AUC", "auc_micro"),
)
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "π": r"$\pi$",
}  # fmt: skip


def tex_tables(context: Context) -> dict[str, str]:
    """Text of each table by file name: `summary.tex`, a table environment a task."""
    tables = [_summary(task, list(of_task.values())) for task, of_task in context.summaries.items()]
    return {"summary.tex": "% needs \\usepackage{booktabs}\n" + "\n".join(tables)}


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def tabular(headers: Sequence[str], rows: Sequence[Sequence[str]], texts: int, caption: str, label: str) -> str:
    r"""A table environment; the first `texts` columns are left-aligned, the others centred. Cells are escaped here."""
    lines = [
        r"\begin{table}",
        rf"\caption{{{escaped(caption)}}}",
        rf"\label{{{re.sub('[^a-z0-9:-]', '-', label)}}}",
        r"\centering",
        rf"\begin{{tabular}}{{{'l' * texts}{'c' * (len(headers) - texts)}}}",
        r"\toprule",
        " & ".join(escaped(header) for header in headers) + r" \\",
        r"\midrule",
        *(" & ".join(escaped(cell) for cell in row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _summary(task: str, summaries: Sequence[ModelSummary]) -> str:
    rows = [
        [
            one.backbone,
            one.model,
            _mean_sd(one.oof.metrics["accuracy"]),
            *(_value(one.oof.metrics[m]) for _, m in COLUMNS),
        ]
        for one in summaries
    ]
    fits, n = len(summaries[0].oof.fits), summaries[0].oof.n
    caption = (
        f"{task}: out-of-fold metrics of {counted(n, 'image')} with 95 % intervals in brackets; folds: mean ± standard "
        f"deviation of accuracy over {counted(fits, 'fit')}."
    )
    headers = ["Backbone", "Model", "Folds", *(header for header, _ in COLUMNS)]
    return tabular(headers, rows, 2, caption, f"tab:{task}-summary")


def _value(estimate: Estimate) -> str:
    """`0.812 [0.801, 0.823]`, a dash where undefined."""
    value, (low, high) = rounded(estimate.shown), limits(estimate.interval)
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _mean_sd(estimate: Estimate) -> str:
    mean, sd = rounded(estimate.fold_mean), rounded(estimate.fold_sd)
    return "–" if mean is None else f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"
