"""Out-of-fold tables, metrics and their intervals."""
