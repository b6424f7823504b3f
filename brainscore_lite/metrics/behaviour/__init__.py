"""Behaviour: decoding, image-level signatures, error consistency, solution times."""
