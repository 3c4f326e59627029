# Training, where the configuration has a section `train`. Its sections lie beside the model, as it was trained.


if run.trains:

    localrules:
        train_settings,

    rule train_settings:
        output:
            f"{run.model}/train.yaml",
        log:
            f"{run.folder}/logs/train_settings.log",
        params:
            sections=lambda w: run.train_file,
        message:
            "train settings"
        shell:
            "printf '%s\n' {params.sections:q} > {output:q} 2> {log:q}"

    rule train:
        input:
            settings=rules.train_settings.output,
            slides=[
                f"{run.folder}/slides/{slide.id}/labels.parquet"
                for slide in run.labelled_slides("train", "val", "test")
            ],
        output:
            f"{run.model}/model.safetensors",
            f"{run.model}/model.json",
            f"{run.model}/metrics.json",
            f"{run.model}/splits.csv",
            directory(f"{run.model}/plots"),
        log:
            f"{run.folder}/logs/train.log",
        benchmark:
            f"{run.folder}/benchmarks/train.tsv"
        threads: 8
        resources:
            mem_mb=lambda w, attempt: 8000 * attempt,
            runtime=720,
        params:
            out=subpath(output[0], parent=True),
            slides=lambda w: run.slide_flags(),
            data=run.train_data(),
        message:
            "train {params.out}"
        shell:
            # Shown as well as logged: it is the longest step, and a person waits for it.
            "tesela train --config {input.settings:q} --out {params.out:q} --threads {threads} {params.slides}"
            " 2>&1 | tee {log:q}"
