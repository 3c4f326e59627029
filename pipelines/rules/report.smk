# The cohort as it was understood, and the report. The report is also written when slides failed.


localrules:
    cohort,
    report,


rule cohort:
    output:
        table=f"{run.folder}/cohort.csv",
        counts=f"{run.folder}/cohort.json",
    log:
        f"{run.folder}/logs/cohort.log",
    priority: 100
    params:
        flags=lambda w: run.cohort_flags(),
        digest=run.cohort.digest(),
    message:
        "cohort"
    shell:
        "tesela cohort {params.flags} --out {output.table:q} 2> {log:q}"


rule report:
    input:
        rules.cohort.output,
        run.of_slides("summary.json", "quality.json", "overlay.png", "overlay.ome.tif"),
    output:
        f"{run.folder}/report.html",
        f"{run.folder}/status.json",
        f"{run.folder}/cohort.parquet",
    log:
        f"{run.folder}/logs/report.log",
    benchmark:
        f"{run.folder}/benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        run=subpath(output[0], parent=True),
    message:
        "report"
    shell:
        "tesela report {params.run:q} 2> {log:q}"


onstart:
    run.keep_config()


onsuccess:
    # Where a single file was asked for, there may be no report yet.
    shell(
        "if [ -f {run.folder:q}/logs/report.log ]; then cat {run.folder:q}/logs/report.log; fi"
    )


onerror:
    shell("tesela report {run.folder:q}")
