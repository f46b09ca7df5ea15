"""How much a predictor needs to learn from; light enough for the command line to read before anything is loaded."""

from __future__ import annotations

FOLDS = 5
"""Of the cross-validation that says how far a predictor is off."""

FEWEST = 2 * FOLDS
"""Measurements that this needs: a fold of one would say nothing about rank."""
