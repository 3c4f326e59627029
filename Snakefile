# Slides in, heat overlays out. Every rule calls one `tesela` command; `pipelines/workflow.py` knows the paths.
from snakemake.utils import min_version

from pipelines.workflow import load_or_exit

min_version("9.0")

run = load_or_exit(config, [str(path) for path in workflow.overwrite_configfiles])


include: "pipelines/rules/slides.smk"
include: "pipelines/rules/model.smk"
include: "pipelines/rules/report.smk"


rule all:
    default_target: True
    input:
        f"{run.folder}/report.html",
        run.of_slides(
            "overlay.ome.tif", "overlay.png", "heatmap.ome.zarr", *run.exports
        ),
