"""The slides of a run: every slide of a folder, or the rows of a sheet; what else was there is counted.

`scan` walks a folder, `sheet` reads a sheet, `ids` names slides, `names` says which names can be used, `same` finds
one slide under two names, `intake` counts.
"""

from pipelines.cohort.cohort import Cohort, CohortSlide
from pipelines.cohort.columns import COLUMNS
from pipelines.cohort.endings import SLIDE_ENDINGS
from pipelines.cohort.ids import unique_ids
from pipelines.cohort.intake import Intake
from pipelines.cohort.load import load_cohort

__all__ = ["COLUMNS", "SLIDE_ENDINGS", "Cohort", "CohortSlide", "Intake", "load_cohort", "unique_ids"]
