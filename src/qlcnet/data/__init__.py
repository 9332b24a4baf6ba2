"""Images, and how they become folds and batches: sources, verified downloads, the image set, the fold table."""
