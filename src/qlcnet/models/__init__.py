"""Backbones, heads, the network that joins them, and how it is trained."""
