"""Exact, faster execution of a network on small images on CPU."""
