"""The commands of `tesela`, by what they work on; importing a module adds its commands, in the order of `--help`."""

# isort: off
from pipelines.commands import slides as slides
from pipelines.commands import tissue as tissue
from pipelines.commands import datasets as datasets
from pipelines.commands import piloting as piloting
from pipelines.commands import scoring as scoring
from pipelines.commands import exporting as exporting
from pipelines.commands import tuning as tuning
from pipelines.commands import evaluating as evaluating
from pipelines.commands import registering as registering
from pipelines.commands import runs as runs
