"""The house: imports run one way, engines are peers, and what is public is explained."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import fastgraph as fg

PACKAGE = Path(fg.__file__).parent
#: From the ground up; a module may import only from storeys below its own.
STOREYS = [
    "errors", "settings", "randomness", "node", "initializers", "ops", "sort", "feeds", "program",
    "layers", "optimizers", "regularization", "schedules", "callbacks", "storage", "engines",
    "solvers", "doctor", "training", "plot", "microscope_page", "microscope", "checks", "export",
    "graph", "many", "selection", "ensemble", "sklearn", "datasets", "bench", "demo", "cli",
    "__init__", "__main__",
]  # fmt: skip
LEVEL = {name: level for level, name in enumerate(STOREYS)}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    """As ``("engines", "native")``; a package's own file is the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports_of(path):
    """(module within fastgraph as a tuple, inside a function) for every import in the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    package = path.relative_to(PACKAGE).parts[:-1]
    known = {module_of(file) for file in FILES}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                target = (*base, alias.name)
                yield (target if target in known else base), id(node) in inside, alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastgraph"):
            base = tuple(node.module.split(".")[1:])
            for alias in node.names:
                target = (*base, alias.name)
                yield (target if target in known else base), id(node) in inside, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "fastgraph":
                    yield tuple(alias.name.split(".")[1:]), id(node) in inside, alias.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = module_of(path)
    assert own[0] in LEVEL, f"{own[0]} has no storey in tests/test_house.py"
    for target, _, name in imports_of(path):
        if not target:  # the package itself, for names of its surface
            assert LEVEL[own[0]] > LEVEL["graph"], (
                f"{path.name} imports the package above it ({name})"
            )
            continue
        if target[0] == own[0]:
            continue  # within one package: see the test of cycles
        assert LEVEL[target[0]] < LEVEL[own[0]], (
            f"{'.'.join(own)} imports {'.'.join(target)}, which stands above it"
        )


def test_there_is_no_cycle_of_imports():
    """By the framework's own sort: a cycle would be an error that names it."""
    names = {module_of(path): [] for path in FILES}
    for path in FILES:
        for target, _, _ in imports_of(path):
            target = target or ("__init__",)
            if target != module_of(path) and not inside_package(module_of(path), target):
                names[target].append(module_of(path))
    order = fg.topological_sort({".".join(k): [".".join(v) for v in vs] for k, vs in names.items()})
    assert order.index("errors") < order.index("node") < order.index("program")


def inside_package(own, target):
    """Whether a module imports from its own package's __init__ or the other way round."""
    return own[:1] == target and len(own) > 1


#: The native engine runs the extension; the benchmark asks it for the processor's peak.
LOADERS = {"extension.py", "native.py", "bench.py"}
#: Those and who tells the user whether it is there.
ASKERS = LOADERS | {"cli.py", "demo.py", "__init__.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_native_engine_loads_the_extension(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    if "load_extension" in names:
        assert path.name in LOADERS
    if ("engines", "extension") in {target for target, _, _ in imports_of(path)}:
        assert path.name in ASKERS
    for target, _, name in imports_of(path):
        assert not name.startswith(("_native", "_cpu")), f"{path.name} imports {target}"


def test_the_engines_never_import_each_other():
    for own, other in (("numpy", "native"), ("native", "numpy")):
        path = PACKAGE / "engines" / f"{own}.py"
        targets = {target for target, _, _ in imports_of(path)}
        assert ("engines", other) not in targets
        assert ("engines",) not in targets


def test_the_engines_offer_the_same():
    """The same classes, with methods of the same names and parameters."""
    from fastgraph.engines import native, numpy

    for name in ("Executor", "Trainer"):
        ours = {k: v for k, v in vars(getattr(numpy, name)).items() if not k.startswith("_")}
        theirs = vars(getattr(native, name))
        for method, function in [
            *ours.items(),
            ("__init__", vars(getattr(numpy, name))["__init__"]),
        ]:
            assert method in theirs, f"native {name} has no {method}"
            assert list(inspect.signature(function).parameters) == list(
                inspect.signature(theirs[method]).parameters
            ), f"{name}.{method}"
    for name in numpy.__all__:
        assert inspect.signature(getattr(numpy, name)).parameters.keys() == (
            inspect.signature(getattr(native, name)).parameters.keys()
        ), name


OPTIONAL = {"matplotlib", "networkx", "tqdm", "sklearn", "onnx", "scipy", "nbformat", "nbclient",
            "pandas", "IPython", "torch", "jax"}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_optional_packages_are_imported_where_they_are_used(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in names:
            assert name.split(".")[0] not in OPTIONAL, f"{path.name} imports {name} at the top"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_file_says_what_it_is_for(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common"}


@pytest.mark.parametrize("name", fg.__all__)
def test_every_public_name_is_explained(name):
    thing = getattr(fg, name)
    doc = inspect.getdoc(thing)
    assert doc, f"{name} has no docstring"
    if inspect.isclass(thing):
        assert thing.__doc__, f"{name} has only its base's docstring"
        for attribute, member in vars(thing).items():
            if not attribute.startswith("_") and inspect.isfunction(member):
                overrides = any(hasattr(base, attribute) for base in thing.__mro__[1:])
                assert member.__doc__ or overrides, f"{name}.{attribute} has no docstring"


def test_the_public_names_are_there_once():
    assert len(fg.__all__) == len(set(fg.__all__))


def test_every_error_derives_from_the_root_and_a_builtin():
    expected = {
        fg.GraphError: ValueError, fg.CycleError: fg.GraphError, fg.ShapeError: ValueError,
        fg.DataError: ValueError, fg.SettingError: ValueError, fg.DivergenceError: ArithmeticError,
    }  # fmt: skip
    for error, base in expected.items():
        assert issubclass(error, fg.FastGraphError)
        assert issubclass(error, base)


FORBIDDEN = re.compile(r"\b(eval|exec|pickle|marshal|shelve)\b\s*[.(]")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_pickled_and_no_text_is_run(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not FORBIDDEN.search(line), f"{path.name}:{number}"
        assert "allow_pickle=True" not in line
