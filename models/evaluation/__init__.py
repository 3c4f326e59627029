"""How far a model's numbers can be believed: figures with intervals, calibration, thresholds, baselines, warnings."""

from models.evaluation.evaluate import evaluate
from models.evaluation.scored import Scored

__all__ = ["Scored", "evaluate"]
