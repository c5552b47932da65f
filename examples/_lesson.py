"""What every script of the lesson shares: where its pictures go. Nothing of the lesson is here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from fastgraph import plot


def start(text: str) -> Callable[[Any, str], None]:
    """Read the command line (``--out DIR``) and return ``show(picture, name)``.

    ``show`` writes a picture, an Axes or a Figure as PNG and an animation as GIF, into DIR.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("lesson"), help="folder for the pictures")
    out = parser.parse_args().out
    matplotlib.use("Agg")  # no display is asked for
    plt.rcParams.update(plot.STYLE)
    out.mkdir(parents=True, exist_ok=True)

    def show(picture: Any, name: str) -> None:
        if hasattr(picture, "save"):
            path = out / f"{name}.gif"
            picture.save(path, writer="pillow", dpi=100)
        else:
            path = out / f"{name}.png"
            getattr(picture, "figure", picture).savefig(path)
        plt.close("all")
        print(f"wrote {path}")

    show.out = out
    return show
