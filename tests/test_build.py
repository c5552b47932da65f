"""The build: which builds of the engine are found, and that loading them changes nothing else."""

import ctypes
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastgraph
from fastgraph.engines import extension
from fastgraph.errors import SettingError

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ISAS = ("baseline", "avx2", "avx512")
DTYPES = ("float32", "float64")

needs_native = pytest.mark.skipif(
    not extension.NATIVE_AVAILABLE, reason=extension.UNAVAILABLE_REASON
)
each_isa = pytest.mark.parametrize("isa", extension.available_isas())
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def run(code, **environment):
    """Run Python code in a process of its own; what it prints."""
    # Without compiled bytecode every import would translate the package again.
    dropped = ("FASTGRAPH_", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.skipif(
    os.environ.get("FASTGRAPH_REQUIRE_NATIVE", "0") in ("", "0"), reason="not required here"
)
def test_a_required_engine_is_built():
    assert extension.NATIVE_AVAILABLE, extension.UNAVAILABLE_REASON


# --- which build -------------------------------------------------------------------------------


@needs_native
def test_available_isas_are_in_order_and_begin_with_the_baseline():
    available = extension.available_isas()
    assert available[0] == "baseline"
    assert list(available) == [isa for isa in ISAS if isa in available]


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs /proc/cpuinfo")
@needs_native
def test_the_tiers_are_those_the_kernel_says_the_processor_has():
    flags = re.search(r"^flags\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    has = set(flags[1].split()) if flags else set()
    avx2 = {"avx2", "fma", "bmi1", "bmi2"}
    avx512 = avx2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    runs = ["baseline"] + ["avx2"] * (avx2 <= has) + ["avx512"] * (avx512 <= has)
    built = extension.build_info()["tiers"]
    assert list(extension.available_isas()) == [isa for isa in runs if isa in built]


@needs_native
def test_the_best_isa_is_chosen(monkeypatch):
    monkeypatch.delenv("FASTGRAPH_ISA", raising=False)
    assert extension.choose_isa() == extension.available_isas()[-1]


@each_isa
def test_the_environment_chooses_an_isa(monkeypatch, isa):
    monkeypatch.setenv("FASTGRAPH_ISA", isa)
    assert extension.choose_isa() == isa


@needs_native
def test_an_unknown_isa_is_an_error_that_names_the_candidates(monkeypatch):
    monkeypatch.setenv("FASTGRAPH_ISA", "avx1024")
    with pytest.raises(SettingError, match=r"FASTGRAPH_ISA.*'avx1024'.*'baseline'"):
        extension.choose_isa()


@needs_native
def test_an_isa_this_processor_lacks_is_an_error(monkeypatch):
    monkeypatch.setattr(extension, "available_isas", lambda: ("baseline",))
    monkeypatch.setenv("FASTGRAPH_ISA", "avx512")
    with pytest.raises(SettingError, match=r"'avx512'.*candidates: 'baseline'\)"):
        extension.choose_isa()
    with pytest.raises(SettingError, match=r"'avx512'.*candidates: 'baseline'\)"):
        extension.load_extension("avx512", "float64")


def test_without_an_engine_the_reason_is_given(monkeypatch):
    monkeypatch.setattr(extension, "available_isas", lambda: ())
    monkeypatch.setattr(extension, "UNAVAILABLE_REASON", "the native engine is not built (why)")
    with pytest.raises(SettingError, match=r"not built \(why\)"):
        extension.choose_isa()


@each_dtype
@each_isa
def test_each_build_loads_once_and_is_the_one_asked_for(isa, dtype):
    module = extension.load_extension(isa, dtype)
    assert module is extension.load_extension(isa, np.dtype(dtype))
    assert Path(module.__file__).name.startswith(f"_native_{isa}_{dtype}.")


@needs_native
@pytest.mark.parametrize("dtype", ["float16", "int64", "complex64"])
def test_no_other_dtype_is_loaded(dtype):
    with pytest.raises(SettingError, match=f"'{dtype}'.*'float32', 'float64'"):
        extension.load_extension("baseline", dtype)


def test_importing_the_package_loads_no_build_of_the_engine():
    code = "import sys, fastgraph; print([m for m in sys.modules if '._native' in m])"
    assert run(code) == "[]"


def test_importing_the_package_loads_no_engine_and_nothing_optional():
    # Its time is measured by the benchmarks; what would cost it is told by what is loaded.
    code = (
        "import numpy, sys\n"
        "before = set(sys.modules)\n"
        "import fastgraph\n"
        "print(' '.join(sorted(set(sys.modules) - before)))\n"
    )
    loaded = run(code).split()
    assert "fastgraph.graph" in loaded
    heavy = {"matplotlib", "networkx", "tqdm", "scipy", "sklearn", "pandas", "asyncio", "unittest"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
    assert not [name for name in loaded if "_native_" in name]


@needs_native
def test_build_info_tells_compiler_flags_and_versions():
    info = extension.build_info()
    assert re.match(r"(gcc|clang|unknown)", info["compiler"])
    assert set(extension.available_isas()) <= set(info["tiers"]) <= set(ISAS)
    for isa, feature in (("avx2", "-mfma"), ("avx512", "-mavx512f")):
        assert feature in info["tiers"].get(isa, feature).split()
    assert info["numpy"].count(".") >= 1 and info["cython"].count(".") >= 1
    assert isinstance(info["debug"], bool) and isinstance(info["sanitize"], bool)


# --- what loading must leave alone -------------------------------------------------------------


@each_dtype
@each_isa
def test_loading_leaves_subnormal_numbers_alone(isa, dtype):
    # A module linked with -ffast-math flushes them to zero from its import on.
    code = (
        "import sys\n"
        "from fastgraph.engines import extension\n"
        f"extension.load_extension({isa!r}, {dtype!r})\n"
        "smallest = float('2.2250738585072014e-308')\n"
        "print(smallest / 2 > 0, smallest / 2 * 2 == smallest)\n"
    )
    assert run(code) == "True True"


@needs_native
def test_no_unsafe_floating_point_flag_was_used():
    info = extension.build_info()
    used = set(f"{info['flags']} {' '.join(info['tiers'].values())}".split())
    assert not used & {"-ffast-math", "-Ofast", "-ffinite-math-only", "-fassociative-math"}


@each_dtype
@each_isa
def test_the_check_for_nan_is_not_optimised_away(isa, dtype):
    code = (
        "import numpy as np, fastgraph as fg\n"
        "x, y = fg.Input('x'), fg.Input('y')\n"
        "w = fg.Parameter(np.ones((1, 1)), 'w')\n"
        f"graph = fg.Graph(fg.MSE(y, x @ w), dtype={dtype!r})\n"
        "data = np.arange(1.0, 8.0).reshape(7, 1)\n"
        "try:\n"
        "    graph.fit({x: data, y: -data}, optimizer=fg.SGD(1e6), epochs=1000)\n"
        "except fg.errors.DivergenceError as error:\n"
        "    print(fg.engine(), np.isfinite(w.value).all())\n"
    )
    assert run(code, FASTGRAPH_ISA=isa, FASTGRAPH_ENGINE="native") == "native True"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the mode with the C library of Linux")
@each_isa
def test_loading_leaves_the_rounding_mode_alone(isa):
    libm = ctypes.CDLL("libm.so.6")
    before = libm.fegetround()
    for dtype in DTYPES:
        extension.load_extension(isa, dtype)
    assert libm.fegetround() == before


# --- what is installed -------------------------------------------------------------------------


def test_the_version_stands_in_one_state():
    assert fastgraph.__version__ == PROJECT["project"]["version"]


def test_numpy_is_the_only_dependency():
    assert [re.match(r"[\w-]+", d)[0] for d in PROJECT["project"]["dependencies"]] == ["numpy"]


def test_the_package_holds_its_data_and_type_marker():
    package = Path(fastgraph.__file__).parent
    assert (package / "py.typed").is_file()
    assert (package / "data" / "boston_housing.csv").is_file()
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["fastgraph"]
    assert {"py.typed", "data/*.csv"} <= set(patterns)


def test_no_c_source_is_in_the_package():
    package = Path(fastgraph.__file__).parent
    assert not [p for p in package.rglob("*") if p.suffix in {".c", ".h", ".pyx", ".pxi", ".o"}]
    for patterns in PROJECT["tool"]["setuptools"]["package-data"].values():
        assert not [p for p in patterns if re.search(r"\.(c|h|pyx|pxi|\*)$", p)]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the checkout")
def test_no_generated_file_is_in_git():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert "setup.py" in tracked
    assert not [p for p in tracked if re.search(r"\.(so|pyd|o|pyc|whl)$|^build/|\.egg-info", p)]
    assert [p for p in tracked if p.endswith(".c")] == ["csrc/cpu.c"]


@pytest.mark.parametrize("folder", ["csrc", "tests", "examples", "benchmarks"])
def test_the_source_distribution_holds(folder):
    assert f"graft {folder}" in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split("\n")


def load_setup(monkeypatch):
    """setup.py as a module, without running `setup`."""
    pytest.importorskip("setuptools")
    import setuptools

    monkeypatch.setattr(setuptools, "setup", lambda **arguments: None)
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("fastgraph_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_unsafe_flags_of_the_environment_are_removed(monkeypatch):
    module = load_setup(monkeypatch)
    from setuptools import Distribution

    command = module.BuildEngine(Distribution({"ext_modules": module.extensions()}))
    warnings = []
    command.warn = warnings.append

    class Compiler:
        executables = {"compiler_so": None, "linker_so": None}
        compiler_so = ["cc", "-O2", "-ffast-math", "-fPIC"]
        linker_so = ["cc", "-shared", "-Ofast"]

        def set_executables(self, **commands):
            vars(self).update(commands)

    command.compiler = Compiler()
    command._remove_unsafe_flags()
    assert command.compiler.compiler_so == ["cc", "-O2", "-fPIC"]
    assert command.compiler.linker_so == ["cc", "-shared"]
    assert ["-ffast-math" in w for w in warnings] == [True, False]


@pytest.mark.parametrize(("required", "optional"), [("1", False), ("0", True), ("", True)])
def test_the_engine_is_optional_unless_required(monkeypatch, required, optional):
    monkeypatch.setenv("FASTGRAPH_REQUIRE_NATIVE", required)
    modules = load_setup(monkeypatch).extensions()
    assert len(modules) == 1 + len(ISAS) * len(DTYPES)
    assert {module.optional for module in modules} == {optional}


def test_the_modules_depend_on_every_source(monkeypatch):
    modules = load_setup(monkeypatch).extensions()
    sources = {f"csrc/{path.name}" for path in (ROOT / "csrc").iterdir()}
    for module in modules[1:]:
        assert sources <= set(module.depends)
