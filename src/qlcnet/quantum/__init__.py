"""Circuits, their exact polynomials, quanvolution of images, and the trainable layer."""
