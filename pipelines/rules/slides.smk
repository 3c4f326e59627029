# What happens to each slide. A slide that fails fails its own jobs; the others go on.


wildcard_constraints:
    slide="[A-Za-z0-9][A-Za-z0-9._-]*",


# Options are given by functions: in other texts Snakemake takes braces, of a class or a pattern, for wildcards.
# What comes from outside of the run counts by its content, which `params` hold, and never by its time.
of_model = str if run.trains else ancient


ruleorder: refused > ingest


rule refused:
    # A name that the workflow would misread: the slide fails with the reason, and the others run.
    output:
        f"{run.slide_folder}/slide.json",
    log:
        f"{run.folder}/logs/ingest/{{slide}}.log",
    wildcard_constraints:
        slide=run.refused,
    group:
        "slide"
    threads: 1
    resources:
        mem_mb=100,
        runtime=1,
    params:
        reason=lambda w: run.cohort[w.slide].fault,
    message:
        "ingest {wildcards.slide}"
    shell:
        "printf 'tesela: error: %s\n' {params.reason:q} > {log:q}; exit 2"


rule ingest:
    input:
        ancient(lambda w: run.source(w.slide)),
    output:
        f"{run.slide_folder}/slide.json",
    log:
        f"{run.folder}/logs/ingest/{{slide}}.log",
    benchmark:
        f"{run.folder}/benchmarks/ingest/{{slide}}.tsv"
    group:
        "slide"
    threads: 2
    resources:
        mem_mb=lambda w, attempt: 1500 * attempt,
        runtime=60,
    params:
        out=subpath(output[0], parent=True),
        content=lambda w: run.slide_digest(w.slide),
        slide=lambda w: run.cohort[w.slide].slide,
        mpp=lambda w: run.mpp_flags(w.slide),
        flags=lambda w: run.flags("ingest"),
    message:
        "ingest {wildcards.slide}"
    shell:
        "tesela ingest {params.slide:q} --out {params.out:q} {params.mpp} {params.flags} 2> {log:q}"


rule tissue:
    input:
        rules.ingest.output,
    output:
        f"{run.slide_folder}/tissue.geojson",
        f"{run.slide_folder}/thumbnail.jpg",
        f"{run.slide_folder}/quality.json",
    log:
        f"{run.folder}/logs/tissue/{{slide}}.log",
    benchmark:
        f"{run.folder}/benchmarks/tissue/{{slide}}.tsv"
    group:
        "slide"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1500 * attempt,
        runtime=20,
    params:
        out=subpath(output[0], parent=True),
        flags=lambda w: run.flags("tissue"),
    message:
        "tissue {wildcards.slide}"
    shell:
        "tesela tissue {input:q} --out {params.out:q} {params.flags} 2> {log:q}"


rule tiles:
    input:
        slide=rules.ingest.output,
        tissue=rules.tissue.output[0],
    output:
        f"{run.slide_folder}/tiles.parquet",
    log:
        f"{run.folder}/logs/tiles/{{slide}}.log",
    benchmark:
        f"{run.folder}/benchmarks/tiles/{{slide}}.tsv"
    group:
        "slide"
    threads: 2
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
        runtime=60,
    params:
        flags=lambda w: f"{run.tile_flags()} {run.flags('blank', 'dask')}",
    message:
        "tiles {wildcards.slide}"
    shell:
        "tesela tiles {input.slide:q} --tissue {input.tissue:q} --out {output:q} {params.flags} 2> {log:q}"


rule label:
    input:
        tiles=rules.tiles.output,
        drawn=ancient(lambda w: run.cohort[w.slide].drawn),
        slide=rules.ingest.output,
    output:
        f"{run.slide_folder}/labels.parquet",
    log:
        f"{run.folder}/logs/label/{{slide}}.log",
    benchmark:
        f"{run.folder}/benchmarks/label/{{slide}}.tsv"
    group:
        "slide"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=20,
    params:
        content=lambda w: run.drawn_digest(w.slide),
        flags=lambda w: run.label_flags(w.slide),
    message:
        "label {wildcards.slide}"
    shell:
        "tesela label {input.tiles:q} --out {output:q} {params.flags} 2> {log:q}"


rule predict:
    input:
        slide=rules.ingest.output,
        tiles=rules.tiles.output,
        model=of_model(f"{run.model}/model.json"),
        weights=of_model(f"{run.model}/model.safetensors"),
    output:
        f"{run.slide_folder}/predictions.parquet",
        f"{run.slide_folder}/summary.json",
        directory(f"{run.slide_folder}/heatmap.ome.zarr"),
    log:
        f"{run.folder}/logs/predict/{{slide}}.log",
    benchmark:
        f"{run.folder}/benchmarks/predict/{{slide}}.tsv"
    group:
        run.scoring_group
    threads: 8
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        runtime=240,
    params:
        out=subpath(output[0], parent=True),
        model=subpath(input.model, parent=True),
        content=run.model_digest(),
        flags=lambda w: run.flags("predict"),
    message:
        "predict {wildcards.slide}"
    shell:
        "tesela predict {input.slide:q} --tiles {input.tiles:q} --model {params.model:q} --out {params.out:q}"
        " --threads {threads} {params.flags} 2> {log:q}"


rule overlay:
    input:
        slide=rules.ingest.output,
        predictions=rules.predict.output[0],
    output:
        tif=f"{run.slide_folder}/overlay.ome.tif",
        png=f"{run.slide_folder}/overlay.png",
    log:
        f"{run.folder}/logs/overlay/{{slide}}.log",
    benchmark:
        f"{run.folder}/benchmarks/overlay/{{slide}}.tsv"
    group:
        run.scoring_group
    threads: 2
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
        runtime=120,
    params:
        flags=lambda w: run.flags("overlay"),
    message:
        "overlay {wildcards.slide}"
    shell:
        "tesela overlay {input.slide:q} --predictions {input.predictions:q} --out {output.tif:q}"
        " --preview {output.png:q} {params.flags} 2> {log:q}"


rule export:
    input:
        slide=rules.ingest.output,
        predictions=rules.predict.output[0],
    output:
        [f"{run.slide_folder}/{name}" for name in run.exports],
    log:
        f"{run.folder}/logs/export/{{slide}}.log",
    benchmark:
        f"{run.folder}/benchmarks/export/{{slide}}.tsv"
    group:
        run.scoring_group
    threads: 1
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=20,
    params:
        out=subpath(input.predictions, parent=True),
        flags=lambda w: run.flags("export"),
    message:
        "export {wildcards.slide}"
    shell:
        "tesela export {input.slide:q} --predictions {input.predictions:q} --out {params.out:q} {params.flags}"
        " 2> {log:q}"
