"""The command `fastgraph`, also `python -m fastgraph`: arguments in, an exit code out.

What the commands do stands elsewhere (`demo`, `bench`); here they are only reached.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence

import numpy as np

import fastgraph as fg

from . import bench, demo
from .engines import extension
from .errors import FastGraphError

__all__ = ["info", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it did its work, 1 after an error, 2 for wrong arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["bench"]:  # has options of its own
        return bench.main(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        if options.command == "demo":
            demo.run(options.out)
        else:
            print(info())
    except FastGraphError as error:
        print(f"fastgraph {options.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"fastgraph {options.command}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastgraph", description="Small computation graphs at the speed of C."
    )
    parser.add_argument("--version", action="version", version=f"fastgraph {fg.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    show = commands.add_parser("demo", help="three models on real data: table and pictures")
    show.add_argument(
        "--out",
        default="fastgraph-demo",
        metavar="DIR",
        help="folder for the pictures (default: %(default)s)",
    )
    commands.add_parser("info", help="version, engine, instruction set, build flags, NumPy")
    commands.add_parser("bench", help="time the engines (fastgraph bench --help)")
    return parser


def info() -> str:
    """What runs here, one fact a line: version, engine, instruction set, build, NumPy, Python."""
    facts = {
        "fastgraph": fg.__version__,
        "engine": str(fg.engine()),
        **_native_facts(),
        "NumPy": np.__version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.machine()}",
    }
    return "\n".join(f"{name:<18}{fact}" for name, fact in facts.items())


def _native_facts() -> dict[str, str]:
    isas = list(extension.available_isas())
    if not isas:
        return {"instruction set": "none: the native engine is not built"}
    isa, build = extension.choose_isa(), extension.build_info()
    extras = [name for name in ("debug", "sanitize") if build[name]]
    return {
        "instruction set": f"{isa} (available: {', '.join(isas)})",
        "compiler": build["compiler"],
        "flags": f"{build['flags']} {build['tiers'][isa]}".strip(),
        "built with": ", ".join([f"Cython {build['cython']}", f"NumPy {build['numpy']}", *extras]),
    }


if __name__ == "__main__":
    raise SystemExit(main())
