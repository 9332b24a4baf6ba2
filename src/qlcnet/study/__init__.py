"""Fit one fold, run the grid of folds, out-of-fold metrics, statistics, report."""
