"""Dissimilarity matrices: their calculation, comparison, models and bounds."""
