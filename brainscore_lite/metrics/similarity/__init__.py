"""Similarity of whole representations: alignment, canonical correlation, shape, spectra."""
