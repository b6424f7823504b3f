"""Linear predictivity: regressions through the Gram matrix, cross-validated."""
