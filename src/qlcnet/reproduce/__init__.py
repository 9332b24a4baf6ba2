"""A commit's results again, by its own code in a clone of its own, graded against what was recorded."""
