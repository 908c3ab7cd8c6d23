"""Two processes train the model that one process trains: the same losses, weights and statistics on the same batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_clip import small_model

from empirical.errors import StudyError
from empirical.process_group import GlobalBatchNorm, World, use_global_batch_norm

SCRIPT = Path(__file__).with_name("train_in_a_group.py")


def trained(folder: Path, processes: int, *options: str) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    path = os.pathsep.join([str(SCRIPT.parents[2]), str(SCRIPT.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*launch, str(SCRIPT), "--out", str(folder), *options],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    losses = np.array(json.loads((folder / "losses.json").read_text()))
    return losses, torch.load(folder / "weights.pt", weights_only=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    return trained(tmp_path_factory.mktemp("alone"), 1)


def test_two_processes_equal_one(alone, tmp_path: Path) -> None:
    losses, weights = trained(tmp_path, 2)
    assert len(losses) == len(alone[0]) == 20
    np.testing.assert_allclose(losses, alone[0], rtol=0, atol=1e-5)
    assert weights.keys() == alone[1].keys()
    for name, value in weights.items():
        if name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(value, alone[1][name], rtol=1e-3, atol=1e-4, msg=name)


def test_plain_batch_norm_would_not_equal_it(alone, tmp_path: Path) -> None:
    """Statistics of half a batch: another objective from the first step on."""
    losses, _ = trained(tmp_path, 2, "--plain-batch-norm")
    assert abs(losses[0] - alone[0][0]) > 1e-3
    assert np.abs(losses - alone[0]).max() > 1e-2


def test_global_batch_norm_alone_is_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one process nothing is summed: outputs, gradients and running statistics of torch's own layer."""
    monkeypatch.setattr("empirical.process_group.all_reduce", lambda value: value)
    torch.manual_seed(0)
    ours, theirs = GlobalBatchNorm(5).double(), torch.nn.BatchNorm2d(5).double()
    for layer in (ours, theirs):
        torch.nn.init.constant_(layer.weight, 1.7)
        torch.nn.init.constant_(layer.bias, -0.3)
    x = torch.randn(6, 5, 3, 4, dtype=torch.float64) * 3 + 1
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    for layer, value in ((ours, a), (theirs, b)):
        for _ in range(2):
            (layer(value) ** 3).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_the_replacement_keeps_weights_and_names() -> None:
    model, reference = small_model(), small_model()
    use_global_batch_norm(model, torch.device("cpu"))
    kinds = {type(m) for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)}
    assert kinds == {GlobalBatchNorm}
    assert model.state_dict().keys() == reference.state_dict().keys()


def test_a_batch_is_dealt_evenly_or_not_at_all() -> None:
    shares = [World(rank, 4).share(32) for rank in range(4)]
    assert [i for share in shares for i in range(32)[share]] == list(range(32))
    with pytest.raises(StudyError, match="multiple of 3"):
        World(0, 3).share(32)
