"""The fits of a task: which there are, what is to do and how long it takes, and running them on an engine."""
