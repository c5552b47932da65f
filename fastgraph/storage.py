"""Files: graphs and runs as ``.npz``, written whole or not at all, and read with suspicion.

A file is a zip archive of ``graph.json`` (or ``run.json``), which tells the structure, and one
``.npy`` for each array, all of them stored as they are: ``numpy.load`` reads them too. Nothing in a
file is ever run: kinds of nodes are looked up by name among those of fastgraph and those the caller
passes, their settings are JSON, and arrays are plain numbers. No size that a file claims is
believed before it has been compared with the size of the file.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from . import ops
from .errors import DataError, GraphError, unknown
from .node import Constant, Input, Node, Parameter

__all__ = ["fingerprint", "outline", "read", "read_graph", "write", "write_graph"]

VERSION = 1
_FORMAT = "fastgraph"
_KINDS: dict[str, type[Node]] = {name: getattr(ops, name) for name in ops.__all__}
_DTYPES = ("<f8", "<f4", "<i8", "<u8", "|b1")
#: What NumPy writes at the head of an array; anything else is refused, so that nothing is parsed.
_HEAD = re.compile(
    rb"\{'descr': '([<|][a-z]\d)', 'fortran_order': False, "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n"
)
#: Names that are taken into the archive as they are.
_PLAIN = re.compile(r"[\w .-]{1,200}")
_MAGIC = b"\x93NUMPY\x01\x00"


# --- containers ----------------------------------------------------------------------------------


def write(path: Any, kind: str, document: Mapping, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a document and arrays to ``path``: whole, or not at all.

    It is written beside its place and moved there when it is safe on the disk, so that a reader, or
    a kill at any moment, meets the old file or the new one.
    """
    import zipfile  # here, for it costs an import of fastgraph eight milliseconds

    path = os.fspath(path)
    head = {"format": _FORMAT, "version": VERSION, "kind": kind, **document}
    text = json.dumps(head, allow_nan=False).encode()
    partial = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.partial"
    try:
        with open(partial, "xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                archive.writestr(f"{kind}.json", text)
                for name, array in arrays.items():
                    archive.writestr(f"{name}.npy", _npy(array))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise


def read(path: Any, kind: str) -> tuple[dict, dict[str, np.ndarray]]:
    """The document and the arrays of a file; memory is bounded by a small multiple of its size.

    Raises:
        DataError: the file is damaged, cut off, from a later version, or no such file at all.
        FileNotFoundError: nothing is there.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            return _read(path, file, kind)
        except DataError:
            raise
        except Exception as error:  # zipfile and json raise a dozen kinds on hostile bytes
            raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _read(path: str, file: Any, kind: str) -> tuple[dict, dict[str, np.ndarray]]:
    import zipfile  # as in `write`

    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        entries: dict[str, zipfile.ZipInfo] = {}
        claimed = 0
        for entry in archive.infolist():
            claimed += entry.file_size
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise _damaged(path, f"{entry.filename!r} is compressed, as none of its files is")
            if entry.filename in entries:
                raise _damaged(path, f"{entry.filename!r} is there twice")
            entries[entry.filename] = entry
        if claimed > size:
            raise _damaged(path, f"it claims {claimed} bytes of content and has {size}")
        head = entries.pop(f"{kind}.json", None)
        if head is None:
            other = next((name for name in entries if name.endswith(".json")), None)
            what = f"it has {other}" if other else "it is another kind of archive"
            raise _damaged(path, f"there is no {kind}.json in it: {what}")
        document = json.loads(archive.read(head))
        _check_head(path, document, kind)
        arrays = {}
        for name, entry in entries.items():
            if not name.endswith(".npy"):
                raise _damaged(path, f"{name!r} is not known")
            arrays[name[:-4]] = _array(path, name, archive.read(entry))
    return document, arrays


def _check_head(path: str, document: Any, kind: str) -> None:
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _damaged(path, "it was not written by fastgraph")
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _damaged(path, f"its version is {version!r}")
    if version > VERSION:
        raise DataError(
            f"{path}: written by a later fastgraph (format {version}; this one reads up to "
            f"{VERSION}); upgrade with: pip install -U fastgraph-nn"
        )
    if document.get("kind") != kind:
        raise _damaged(path, f"it holds a {document.get('kind')!r}, not a {kind!r}")


def _npy(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    array = np.ascontiguousarray(array) if array.ndim else array
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    np.lib.format.write_array(target, little, version=(1, 0), allow_pickle=False)
    return target.getvalue()


def _array(path: str, name: str, data: bytes) -> np.ndarray:
    length = int.from_bytes(data[8:10], "little")
    found = _HEAD.fullmatch(data[10 : 10 + length])
    if data[:8] != _MAGIC or found is None or found[1].decode() not in _DTYPES:
        raise _damaged(path, f"the head of {name!r} is not that of an array of numbers")
    dtype = np.dtype(found[1].decode())
    shape = tuple(int(part) for part in found[2].replace(b" ", b"").split(b",") if part)
    if math.prod(shape) * dtype.itemsize != len(data) - 10 - length:
        raise _damaged(path, f"{name!r} claims the shape {shape} and has {len(data)} bytes")
    array = np.frombuffer(data, dtype, offset=10 + length).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _damaged(path: str, why: str) -> DataError:
    return DataError(f"{path}: not a whole fastgraph file ({why}); take it from where it was saved")


# --- graphs --------------------------------------------------------------------------------------


def write_graph(
    path: Any,
    nodes: tuple[Node, ...],
    outputs: tuple[Node, ...],
    dtype: np.dtype,
    labels: Mapping[Node, str],
) -> None:
    """Write sorted nodes and the values of the parameters among them.

    Raises:
        GraphError: a node's settings cannot be told from its constructor.
    """
    numbers = {node: i for i, node in enumerate(nodes)}
    document = {
        "dtype": dtype.name,
        "outputs": [numbers[node] for node in outputs],
        "nodes": [_describe(node, numbers) for node in nodes],
    }
    arrays: dict[str, np.ndarray] = {}
    for node, described in zip(nodes, document["nodes"], strict=True):
        if isinstance(node, (Parameter, Constant)):
            name = labels[node] if _PLAIN.fullmatch(labels[node]) else f"#{len(arrays)}"
            described["array"] = key = f"{node.kind.lower()}s/{name}"
            arrays[key] = node.value if isinstance(node, Parameter) else node.constant
    kinds = {type(node).__name__: type(node) for node in nodes}
    _build(os.fspath(path), document, arrays, kinds)  # what cannot be read back is not written
    write(path, "graph", document, arrays)


def read_graph(path: Any, custom: Iterable[type[Node]] = ()) -> tuple[list[Node], str]:
    """The outputs of a saved graph, as new nodes, and its dtype."""
    kinds: dict[str, type[Node]] = {}
    for kind in custom:
        if not (isinstance(kind, type) and issubclass(kind, Node)):
            raise GraphError(f"nodes: expected classes of nodes, as [Cube], got {kind!r}")
        kinds[kind.__name__] = kind
    document, arrays = read(path, "graph")
    try:
        return _build(os.fspath(path), document, arrays, _KINDS | kinds)
    except DataError:
        raise
    except Exception as error:  # settings out of range, shapes that do not fit, …
        raise _damaged(os.fspath(path), f"{type(error).__name__}: {error}") from error


def _describe(node: Node, numbers: Mapping[Node, int]) -> dict:
    described: dict[str, Any] = {"kind": node.kind, "name": node.name}
    if isinstance(node, Input):
        described["shape"] = None if node.sample_shape is None else list(node.sample_shape)
    elif isinstance(node, Parameter):
        if not getattr(node, "trained", True):
            described["trained"] = False
    elif not isinstance(node, Constant):
        described["inputs"] = [numbers[item] for item in node.inputs]
        described["settings"] = _settings(node)
    return described


def _settings(node: Node) -> dict[str, Any]:
    """What the constructor takes beside inputs and name: kept by a node under the same names."""
    settings = {}
    for name, parameter in _constructor(type(node)).items():
        value = getattr(node, name, inspect)  # a module is no setting
        if parameter.kind is parameter.VAR_POSITIONAL or value is inspect or callable(value):
            continue
        settings[name] = _plain(node, name, value)
    return settings


def _constructor(kind: type[Node]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p for p in parameters if p.name not in ("self", "name")}


def _plain(node: Node, name: str, value: Any) -> Any:
    """A setting as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (tuple, list)):
        return [_plain(node, name, item) for item in value]
    if isinstance(value, slice):
        return {"slice": [_plain(node, name, v) for v in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise GraphError(
        f"{node}: cannot be saved: its setting {name} is {value!r}; settings are numbers, words "
        "and lists of them"
    )


def _setting(value: Any) -> Any:
    """The reverse of `_plain`; lists are tuples, as settings that are several numbers are."""
    if isinstance(value, list):
        return tuple(_setting(item) for item in value)
    if isinstance(value, dict):
        return Ellipsis if "ellipsis" in value else slice(*value["slice"])
    return value


def _build(
    path: str, document: dict, arrays: dict[str, np.ndarray], kinds: Mapping[str, type[Node]]
) -> tuple[list[Node], str]:
    nodes: list[Node] = []
    for described in document["nodes"]:
        kind, name = described["kind"], described["name"]
        if kind in ("Parameter", "Constant"):
            array = arrays.get(described["array"])
            if array is None:
                raise _damaged(path, f"the value of {kind} {name!r} is missing")
            fixed = {"trained": False} if described.get("trained") is False else {}
            node: Node = (Parameter if kind == "Parameter" else Constant)(array, name, **fixed)
        elif kind == "Input":
            shape = described["shape"]
            node = Input(name, None if shape is None else tuple(shape))
        elif kind in kinds:
            inputs = described["inputs"]
            if not all(type(i) is int and 0 <= i < len(nodes) for i in inputs):
                raise _damaged(path, f"{kind} reads nodes that do not come before it: {inputs}")
            node = _make(kinds[kind], [nodes[i] for i in inputs], described["settings"], name)
        else:
            hint = unknown("kind of node", kind, kinds)
            raise DataError(
                f"{path}: {hint}; if it is a class of your own, pass it: load(path, nodes=[{kind}])"
            )
        nodes.append(node)
    outputs = document["outputs"]
    if not outputs or not all(type(i) is int and 0 <= i < len(nodes) for i in outputs):
        raise _damaged(path, f"its outputs are {outputs}")
    return [nodes[i] for i in outputs], document["dtype"]


def _make(kind: type[Node], inputs: list[Node], settings: dict, name: str | None) -> Node:
    parameters = _constructor(kind)
    given = {key: _setting(value) for key, value in settings.items()}
    if not given.keys() <= parameters.keys():
        raise GraphError(f"{kind.__name__} takes no {', '.join(given.keys() - parameters.keys())}")
    if "name" in inspect.signature(kind.__init__).parameters:
        given["name"] = name
    if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        node = kind(*inputs, **given)
    else:
        slots = [key for key in parameters if key not in given]
        lost = [key for key in slots[len(inputs) :] if parameters[key].default is not None]
        if lost:
            names = ", ".join(lost)
            raise GraphError(f"{kind.__name__}: cannot be saved: it does not keep {names}")
        node = kind(**dict(zip(slots, inputs, strict=False)), **given)
    node.name = name
    if node.inputs != tuple(inputs):
        raise GraphError(
            f"{kind.__name__}: cannot be saved: made again from its settings it is another node; "
            "keep each argument of its constructor under the argument's own name"
        )
    return node


def outline(nodes: tuple[Node, ...]) -> int:
    """A checksum of what a graph is made of, the values of its parameters left out."""
    numbers, described = {node: i for i, node in enumerate(nodes)}, []
    for node in nodes:
        inputs, shape = [numbers[item] for item in node.inputs], None
        if isinstance(node, Parameter):
            shape = node.value.shape
        elif isinstance(node, Constant):
            shape = node.constant.tolist()
        try:
            settings = _settings(node) if node.inputs else None
        except GraphError:  # a user's own, which cannot be told
            settings = None
        described.append([node.kind, node.name, inputs, shape, settings])
    return zlib.crc32(json.dumps(described).encode())


def fingerprint(arrays: Iterable[np.ndarray]) -> int:
    """A checksum of data, to tell one set from another."""
    value = 0
    for array in arrays:
        flat = np.ascontiguousarray(array).reshape(-1)
        for start in range(0, flat.size, 1 << 20):
            value = zlib.crc32(flat[start : start + (1 << 20)].view(np.uint8), value)
    return value
