"""Scores over time: model steps beside time bins, and generalisation across them."""
