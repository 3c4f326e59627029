"""Scoring slides: a model that is ready (`scorer`), and the tiles of many slides on their way to it (`slides`)."""

from models.predict.scorer import PredictOptions, Scorer
from models.predict.slides import Failed, Scored, SlideJob, score_slide, score_slides

__all__ = ["Failed", "PredictOptions", "Scored", "Scorer", "SlideJob", "score_slide", "score_slides"]
