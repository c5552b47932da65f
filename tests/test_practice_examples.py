"""The examples from 20 on that have no test of their own: what they print is what they claim."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastgraph.engines import extension

EXAMPLES = Path(__file__).parent.parent / "examples"


def printed(name, out):
    """What an example prints, run as a reader runs it."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MPLBACKEND": "Agg"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not extension.NATIVE_AVAILABLE, reason="its numbers are the native engine's")
def test_training_stops_early_resumes_and_loads(tmp_path):
    text = printed("21_training.py", tmp_path)
    ran, best = map(int, re.search(r"stopped after (\d+) of 400 .* best was (\d+)", text).groups())
    assert ran - best == 40  # the patience
    assert float(re.search(r"held-out MSE ([\d.]+)", text)[1]) < 10
    assert "resumed, the parameters are the same bits: True" in text
    assert "loaded, it predicts the same bits: True" in text
    assert (tmp_path / "21_history.png").stat().st_size > 10_000


def test_the_doctor_finds_what_is_wrong_and_nothing_else(tmp_path):
    text = printed("23_doctor.py", tmp_path)
    published, _, rest = text.partition("standardized:")
    assert "7 of 13 columns are not scaled" in published
    assert "learning rate 0.01, where steps grow without end" in published
    assert rest.lstrip().startswith("nothing found")
    assert "column 13 is Input 'y' up to scale" in rest
    assert "training left the finite numbers" in rest
    losses = re.search(r"epochs: ([\d.]+) as published, ([\d.]+) standardized", text)
    assert float(losses[2]) < 30 < 80 < float(losses[1])


def test_levenberg_marquardt_is_ahead_by_far(tmp_path):
    text = printed("24_solvers.py", tmp_path)
    found = re.findall(r"epochs, MSE +([\d.]+)", text)
    solver, adam, momentum = map(float, found)
    assert solver < 0.6 * adam < momentum
