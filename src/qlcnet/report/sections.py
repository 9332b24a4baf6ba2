"""The report as a list of sections, in reading order: first what came out, then what went in."""

from __future__ import annotations

from qlcnet.report import (
    checks,
    circuit_section,
    claim_sections,
    class_sections,
    difference_sections,
    duplicates_section,
    paper_section,
    paper_text,
    results_sections,
    setup_sections,
)
from qlcnet.report.content import Section

SECTIONS = (
    Section("overview", "At a glance", results_sections.overview),
    Section("comparisons", "Comparisons", difference_sections.comparisons),
    Section("claims", "The paper's claims", claim_sections.claims),
    Section("paper", "Beside the paper", paper_section.paper),
    Section("results", "Results", results_sections.results),
    Section("classes", "Classes", class_sections.classes),
    Section("roc", "ROC curves and calibration", class_sections.curves),
    Section("training", "Training curves", class_sections.training),
    Section("spread", "Where the spread comes from", claim_sections.spread),
    Section("leakage", "Leakage", claim_sections.leaks),
    Section("checks", "How this study could be wrong", checks.checks),
    Section("data", "Data", setup_sections.data),
    Section("near-duplicates", "Near-duplicates", duplicates_section.near_duplicates),
    Section("setup", "Models and training", setup_sections.setup),
    Section("circuits", "Circuits", circuit_section.circuits),
    Section("cost", "Cost", setup_sections.cost),
    Section("writing", "For a paper", paper_text.for_a_paper),
    Section("versions", "Versions", setup_sections.versions),
    Section("again", "Run again", setup_sections.run_again),
)
