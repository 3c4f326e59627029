"""Searching settings of a training with Optuna."""

from models.tuning.search import TuneOptions, tune
from models.tuning.space import Choices, Range, Space, default_space

__all__ = ["Choices", "Range", "Space", "TuneOptions", "default_space", "tune"]
