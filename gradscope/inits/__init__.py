"""Initialisations, a file each; public for authors: the shapes to fill, and what schemes share."""

from gradscope.inits._base import Shape, Weights, orthogonal, uniform, without_bias

__all__ = ["Shape", "Weights", "orthogonal", "uniform", "without_bias"]
