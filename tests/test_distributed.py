"""Training on several devices: each takes its part of every batch, and one model comes out of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from typer.testing import CliRunner

from models.checkpoint import load_checkpoint
from models.data import read_folder
from models.loading import EpochBatches, EpochSampler, Share
from models.network import to_input
from models.splitsheet import read_split
from models.training.device import Hardware, make_fabric
from pipelines.commands.app import app
from wsi.errors import InputError

CONFIG = """
tile: {{size_px: 32, mpp: 0.5}}
train: {{folder: {tiles}, source_mpp: 0.5, architecture: resnet10t, epochs: 2, batch_size: 16, learning_rate: 0.003,
  val_fraction: 0.3, precision: 32-true}}
"""


@given(st.integers(1, 4), st.integers(2, 5), st.integers(1, 200), st.integers(0, 3), st.sampled_from([1, 2]))
def test_processes_share_the_batches_that_one_would_take(
    processes: int, own: int, tiles: int, epoch: int, multiple: int
) -> None:
    """And every tile of an epoch is in one of them, but for those that cannot be shared."""
    batch = processes * own * multiple
    sampler = EpochSampler(tiles, 7, shuffle=True)
    sampler.set_epoch(epoch)
    shares = [EpochBatches(sampler, Share(p, processes, batch, multiple)) for p in range(processes)]
    parts = [list(share) for share in shares]
    assert {len(share) for share in shares} == {len(part) for part in parts}
    whole = [[key for part in parts for key in part[i]] for i in range(len(parts[0]))]
    unit = processes * multiple
    kept = tiles // unit * unit
    assert [key for keys in whole for key in keys] == list(sampler)[:kept]
    assert shares[0].tiles == kept
    sizes = [len(keys) for keys in whole]
    if kept >= 2 * unit:
        assert all(len({len(part[i]) for part in parts}) == 1 for i in range(len(sizes)))
        assert all(size // processes >= 2 and size % unit == 0 for size in sizes)
        assert max(sizes) - min(sizes) <= unit
        assert max(sizes) <= max(batch, 3 * processes)


@pytest.mark.parametrize(("tiles", "sizes"), [(64, [32, 32]), (65, [22, 22, 21]), (33, [17, 16]), (31, [31])])
def test_the_last_batch_is_as_large_as_the_others(tiles: int, sizes: list[int]) -> None:
    assert Share(0, 1, 32).sizes(tiles) == sizes


@pytest.mark.parametrize("batch", [2, 7])
def test_a_batch_that_cannot_be_shared_is_refused(batch: int) -> None:
    with pytest.raises(InputError, match=f"train.batch_size {batch} is shared by 2 devices; give a multiple of 2"):
        Share(0, 2, batch)


@pytest.mark.slow
def test_two_processes_leave_one_model_that_is_what_its_figures_say(tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG.format(tiles=tiles))
    out = tmp_path / "model"
    command = [sys.executable, "-m", "pipelines.cli", "train", "--config", str(tmp_path / "c.yaml"), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--devices", "2"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1/2") == 1  # one of them speaks
    checkpoint, network = load_checkpoint(out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["val"]["accuracy"] > 0.9
    # What each process found of its half, put together, is what the model says of all of it.
    images = read_folder(tiles, 0.5)
    val = read_split(out / "splits.csv", images).val
    pictures = torch.from_numpy(np.stack([images.load(int(i), checkpoint.tile) for i in val]))
    with torch.inference_mode():
        logits = network(to_input(pictures, checkpoint.mean, checkpoint.std))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(images.labels[val]))
    assert float(loss) == pytest.approx(metrics["val"]["loss"], abs=1e-4)


def test_folds_train_on_one_device(tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG.format(tiles=tiles))
    given = ["train", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m"), "--folds", "3"]
    found = CliRunner().invoke(app, [*given, "--devices", "2"])
    assert isinstance(found.exception, InputError)
    assert "leave out --devices" in str(found.exception)


def test_slurm_starts_the_processes_where_it_was_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"NTASKS": "2", "NTASKS_PER_NODE": "2", "JOB_NAME": "train", "NODEID": "0", "PROCID": "0", "LOCALID": "0"}
    for name, value in told.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fabric = make_fabric("32-true", Hardware(2))
    assert isinstance(fabric.strategy.cluster_environment, SLURMEnvironment)
    with pytest.raises(InputError, match=r"4 processes, but Slurm started 2; start it with srun .*--ntasks-per-node=4"):
        make_fabric("32-true", Hardware(4))
    make_fabric("32-true")  # a training on one device does not mind what else was asked for


def test_a_slurm_job_of_one_task_starts_its_processes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "snakejob")
    fabric = make_fabric("32-true", Hardware(2))
    assert isinstance(fabric.strategy.cluster_environment, LightningEnvironment)
    with pytest.raises(InputError, match="--nodes 2 are 4 processes"):
        make_fabric("32-true", Hardware(2, 2))
