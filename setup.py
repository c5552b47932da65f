"""Builds the native engine; everything that can be said as data stands in pyproject.toml.

`csrc/native.pyx` is turned into C once, and that C is compiled once per instruction set and
dtype, as `fastgraph._native_<isa>_<dtype>`. `fastgraph._cpu` is plain C: it tells which of these
the processor can run, and how they were built. All that is generated lies under `build/`.

The engine is optional: where it cannot be compiled the package installs without it and the NumPy
engine runs. Environment switches, each off when unset, empty or 0:

    FASTGRAPH_REQUIRE_NATIVE   a failed compilation fails the installation
    FASTGRAPH_DEBUG            bounds checks (guards of NaN behind every buffer), debug symbols
    FASTGRAPH_SANITIZE         address and undefined-behaviour sanitizers
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# The processor features of each tier, beyond the platform's baseline, best tier last. This one
# table gives the compiler's flags and, through the generated header, what _cpu tests at run time.
# Features are named one by one: clang 14 makes no 512-bit code from -march=x86-64-v4 and does not
# know the level names at run time.
AVX2 = ("avx2", "fma", "bmi", "bmi2")
AVX512 = (*AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
TIERS = {"baseline": (), "avx2": AVX2, "avx512": AVX512}
TIER_FLAGS = {"avx512": ["-mprefer-vector-width=512"]}
DTYPES = {"float32": 32, "float64": 64}

# The most that may be relaxed. -ffast-math and its parts are removed from the environment's flags:
# linked with them, a module switches the whole process to flush-to-zero when it is imported, and
# isnan is optimised away.
FLOAT_FLAGS = ["-fno-math-errno", "-fno-trapping-math"]
UNSAFE_FLAGS = {
    "-ffast-math",
    "-Ofast",
    "-funsafe-math-optimizations",
    "-ffinite-math-only",
    "-fassociative-math",
    "-freciprocal-math",
    "-fno-signed-zeros",
    "-mdaz-ftz",
}
SANITIZER_FLAGS = ["-fsanitize=address,undefined"]

# How each mode compiles. -g0: Python's own flags may ask for symbols, which triple the wheel.
# -fno-wrapv: Python's own -fwrapv would hide integer overflow from the sanitizer.
RELEASE_FLAGS = ["-O3", "-g0", *FLOAT_FLAGS]
DEBUG_FLAGS = ["-O1", "-g", "-UNDEBUG", "-DFG_DEBUG=1", *FLOAT_FLAGS]
SANITIZE_FLAGS = [
    *DEBUG_FLAGS,
    *SANITIZER_FLAGS,
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
    "-fno-wrapv",
]
# Vector types passed between static functions are no ABI anybody else sees; Cython leaves unused
# functions behind.
QUIET_FLAGS = ["-Wno-psabi", "-Wno-unused-function"]

NATIVE = "fastgraph._native"
NATIVE_SOURCE = Path("csrc/native.pyx")

PROBE = """
#if {missing}
#error "the flags do not give these features"
#endif
typedef double vector __attribute__((vector_size(64)));
void add(vector *a, const vector *b) {{ *a += *b; }}
"""


def switch(name: str) -> bool:
    """Whether an environment switch is on."""
    return os.environ.get(name, "0").strip() not in ("", "0")


REQUIRED = switch("FASTGRAPH_REQUIRE_NATIVE")
SANITIZE = switch("FASTGRAPH_SANITIZE")
DEBUG = switch("FASTGRAPH_DEBUG") or SANITIZE


def tier_flags(isa: str) -> list[str]:
    """The compiler's flags for one instruction set."""
    return [f"-m{feature}" for feature in TIERS[isa]] + TIER_FLAGS.get(isa, [])


def write_if_changed(path: Path, text: str) -> None:
    """Write a generated file, leaving its time alone when it would stay the same."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def only_builder():
    """Hold off a second build in the same checkout until this one is done."""
    if os.name != "posix":
        yield
        return
    import fcntl

    Path("build").mkdir(exist_ok=True)
    with open("build/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class BuildEngine(build_ext):
    """Compiles the tiers this compiler can make, each time the sources or the flags change."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.inplace:
            # An editable installation builds in a temporary folder each time; kept here, it
            # compiles only what changed, and shares that with `setup.py build_ext --inplace`.
            base = Path("build") / f"inplace-{sys.implementation.cache_tag}"
            self.build_lib, self.build_temp = str(base / "lib"), str(base / "temp")
        self.generated = Path(self.build_temp) / "generated"
        self.parallel = self.parallel or min(os.cpu_count() or 1, len(self.extensions))

    def run(self) -> None:
        with only_builder():
            try:
                super().run()
            except Exception as error:
                if REQUIRED:
                    raise
                self.warn(f"the native engine was not built, the NumPy engine will run: {error}")

    def build_extensions(self) -> None:
        self._remove_unsafe_flags()
        stamp = Path(self.build_temp) / "flags.txt"
        fingerprint = self._fingerprint()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != fingerprint:
            self.force = True
        # Absent while building: an interrupted build may leave modules of two kinds.
        stamp.unlink(missing_ok=True)

        isas = [isa for isa in TIERS if self._can_compile(isa)]
        self._prepare_cpu(isas)
        try:
            self._prepare_native(isas)
        except Exception as error:
            if REQUIRED:
                raise
            self.warn(f"{NATIVE_SOURCE} was not translated to C: {error}")
            self._drop(lambda ext: ext.name.startswith(NATIVE))
        super().build_extensions()
        if all(Path(self.get_ext_fullpath(ext.name)).exists() for ext in self.extensions):
            write_if_changed(stamp, fingerprint)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception:
            # An optional module that no longer compiles must not live on as its last build.
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
            raise

    def copy_extensions_to_source(self) -> None:
        # Not copied over the old file: a process that runs it would crash, and one that starts
        # now would read half of it.
        build_py = self.get_finalized_command("build_py")
        for ext in self.distribution.ext_modules:
            target, built = map(Path, self._get_inplace_equivalent(build_py, ext))
            if ext not in self.extensions or not built.exists():
                target.unlink(missing_ok=True)
            elif not target.exists() or target.read_bytes() != built.read_bytes():
                partial = target.with_name(f"{target.name}.{os.getpid()}")
                self.copy_file(str(built), str(partial))
                os.replace(partial, target)

    def _drop(self, unwanted) -> None:
        self.extensions = [ext for ext in self.extensions if not unwanted(ext)]

    def _remove_unsafe_flags(self) -> None:
        for name in getattr(self.compiler, "executables", {}):
            command = getattr(self.compiler, name, None)
            unsafe = UNSAFE_FLAGS.intersection(command or ())
            if unsafe:
                self.warn(f"{', '.join(sorted(unsafe))} removed: they change results")
                kept = [flag for flag in command if flag not in unsafe]
                self.compiler.set_executables(**{name: kept})

    def _flags(self) -> list[str]:
        if self.compiler.compiler_type == "msvc":
            return ["/Od", "/DFG_DEBUG=1"] if DEBUG else ["/O2"]
        mode = SANITIZE_FLAGS if SANITIZE else DEBUG_FLAGS if DEBUG else RELEASE_FLAGS
        return mode + QUIET_FLAGS

    def _fingerprint(self) -> str:
        """Everything but the sources that decides what comes out."""
        import Cython
        import numpy

        lines = [sys.version, f"Cython {Cython.__version__}", f"NumPy {numpy.__version__}"]
        for name in getattr(self.compiler, "executables", {}):
            lines.append(f"{name}: {getattr(self.compiler, name, None)}")
        command = getattr(self.compiler, "compiler_so", None)
        if command:
            version = subprocess.run([command[0], "--version"], capture_output=True, text=True)
            lines.append(version.stdout)
        lines.append(f"{self._flags()} {TIERS} {TIER_FLAGS}")
        lines.append(Path(__file__).read_text(encoding="utf-8"))
        return "\n".join(lines)

    def _can_compile(self, isa: str) -> bool:
        """Whether this compiler makes code of a tier for the machine that is built for."""
        if not TIERS[isa]:
            return True
        if self.compiler.compiler_type != "unix":
            return False
        macros = [f"__{feature.upper()}__" for feature in TIERS[isa]]
        missing = " || ".join(f"!defined({macro})" for macro in ("__x86_64__", *macros))
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(PROBE.format(missing=missing), encoding="utf-8")
            command = [*self.compiler.compiler_so, *tier_flags(isa), *QUIET_FLAGS]
            command += ["-c", str(source), "-o", str(source.with_suffix(".o"))]
            return subprocess.run(command, capture_output=True).returncode == 0

    def _prepare_cpu(self, isas: list[str]) -> None:
        """Write what `csrc/cpu.c` includes: the tiers, their tests and how they are built."""
        import Cython
        import numpy

        def quoted(words) -> str:
            return '"' + " ".join(words).replace("\\", "\\\\").replace('"', '\\"') + '"'

        environment = shlex.split(os.environ.get("CFLAGS", ""))
        flags = [flag for flag in environment if flag not in UNSAFE_FLAGS] + self._flags()
        rows = []
        for isa in isas:
            tests = [f'__builtin_cpu_supports("{feature}")' for feature in TIERS[isa]]
            rows.append(f'X("{isa}", {quoted(tier_flags(isa))}, {" && ".join(tests) or "1"})')
        lines = [
            "/* Written by setup.py. */",
            f"#define FG_BUILD_FLAGS {quoted(flags)}",
            f"#define FG_BUILD_CYTHON {quoted([Cython.__version__])}",
            f"#define FG_BUILD_NUMPY {quoted([numpy.__version__])}",
            f"#define FG_BUILD_DEBUG {int(DEBUG)}",
            f"#define FG_BUILD_SANITIZE {int(SANITIZE)}",
            "#define FG_TIERS(X) \\\n    " + " \\\n    ".join(rows),
        ]
        header = self.generated / "build_info.h"
        write_if_changed(header, "\n".join(lines) + "\n")
        for ext in self.extensions:
            if ext.name == "fastgraph._cpu":
                ext.include_dirs = [str(self.generated)]
                ext.depends = [*ext.depends, str(header)]
            ext.extra_compile_args = self._flags()
            ext.extra_link_args = SANITIZER_FLAGS if SANITIZE else []

    def _prepare_native(self, isas: list[str]) -> None:
        """Translate the engine to C once and give each module its own few lines above it."""
        import numpy
        from Cython.Build import cythonize

        checked = {"boundscheck": DEBUG, "wraparound": False, "initializedcheck": DEBUG}
        (translated,) = cythonize(
            [Extension(NATIVE, [str(NATIVE_SOURCE)])],
            build_dir=str(self.generated),
            include_path=["csrc"],
            compiler_directives={"language_level": 3, "cdivision": True, **checked},
            force=self.force,
        )
        source = Path(translated.sources[0])
        # Cython copies headers beside its C; the compiler must find the ones that are edited.
        for copy in source.parent.glob("*.h"):
            copy.unlink()
        self._drop(lambda ext: ext.name.startswith(NATIVE) and ext.isa not in isas)
        for ext in self.extensions:
            if not ext.name.startswith(NATIVE):
                continue
            name = ext.name.rpartition(".")[2]
            wrapper = self.generated / f"{name}.c"
            write_if_changed(
                wrapper,
                "/* Written by setup.py. */\n"
                "#if defined(__FAST_MATH__) || __FINITE_MATH_ONLY__\n"
                '#error "fastgraph needs NaN and infinity: compile without -ffast-math"\n'
                "#endif\n"
                f"#define FG_REAL_BITS {DTYPES[ext.dtype]}\n"
                f"#define PyInit__native PyInit_{name}\n"
                f'#include "{source.relative_to(self.generated).as_posix()}"\n',
            )
            ext.sources = [str(wrapper)]
            ext.depends = [*ext.depends, str(source)]
            ext.include_dirs = ["csrc", numpy.get_include()]
            ext.define_macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
            ext.extra_compile_args = self._flags() + tier_flags(ext.isa)


def extensions() -> list[Extension]:
    """Every module that can exist; those the compiler cannot make are dropped when building."""
    modules = [Extension("fastgraph._cpu", ["csrc/cpu.c"], optional=not REQUIRED)]
    sources = sorted(str(path) for path in Path("csrc").glob("*.*"))
    for isa in TIERS:
        for dtype in DTYPES:
            module = Extension(
                f"{NATIVE}_{isa}_{dtype}",
                [str(NATIVE_SOURCE)],
                depends=sources,
                optional=not REQUIRED,
            )
            module.isa, module.dtype = isa, dtype
            modules.append(module)
    return modules


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildEngine})
