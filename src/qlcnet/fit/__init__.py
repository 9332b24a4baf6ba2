"""Fit one fold: its identity, how it runs, the folder that it leaves, the store of them."""
