"""Settings searched with Optuna."""
