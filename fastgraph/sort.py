"""Topological sort: an order in which every node comes after the nodes it reads.

Two forms of the same graph are taken: nodes (each knows its inputs) and the plain mapping of a
first lesson (each name lists the names it feeds). Both are sorted iteratively, in time linear in
nodes and edges, deterministically, and without touching the argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping

from .errors import CycleError, GraphError
from .node import Node

__all__ = ["topological_sort"]


def topological_sort(graph: Node | Iterable[Node] | Mapping) -> list:
    """Nodes or names, each after everything that feeds it.

    Parameters:
        graph: an output node, several of them, or a mapping ``{name: [names it feeds]}``.

    Returns:
        A list: all nodes that the outputs need, or all names in the mapping (those that are only
        fed as well). Nodes keep the order of ``inputs``. Names that nothing feeds come first, in
        the order in which the mapping first mentions them; every other follows its last feeder.

    Raises:
        CycleError: there is a cycle; the message and ``error.cycle`` name it.
        GraphError: the argument is neither of the two forms.

    Source: A. B. Kahn (1962), "Topological sorting of large networks", for mappings; depth-first
    postorder (R. Tarjan, 1976) for nodes.

    Example:
        >>> from fastgraph import topological_sort
        >>> topological_sort({"x": ["linear"], "k": ["linear"], "linear": ["loss"], "y": ["loss"]})
        ['x', 'k', 'y', 'linear', 'loss']
    """
    if isinstance(graph, Mapping):
        return _sort_mapping(graph)
    outputs = [graph] if isinstance(graph, Node) else graph
    if isinstance(outputs, (str, bytes)) or not isinstance(outputs, Iterable):
        raise GraphError(
            "topological_sort takes output nodes or a mapping {name: [names it feeds]}, "
            f"got {type(graph).__name__}"
        )
    return _sort_nodes(list(outputs))


def _sort_nodes(outputs: list) -> list[Node]:
    for item in outputs:
        if not isinstance(item, Node):
            raise GraphError(f"expected nodes, got {type(item).__name__} ({item!r})")
    order: list[Node] = []
    done: set[Node] = set()
    entered: set[Node] = set()  # on the path from an output to the node looked at
    for output in outputs:
        if output in done:
            continue
        entered.add(output)
        path = [(output, iter(output.inputs))]
        while path:
            node, rest = path[-1]
            for item in rest:
                if item in done:
                    continue
                if item in entered:
                    nodes = [step[0] for step in path]
                    cycle = nodes[nodes.index(item) :][::-1]
                    raise _cycle_error(cycle)
                entered.add(item)
                path.append((item, iter(item.inputs)))
                break
            else:
                path.pop()
                entered.discard(node)
                done.add(node)
                order.append(node)
    return order


def _sort_mapping(graph: Mapping) -> list:
    feeds: dict[Hashable, list] = {}
    waiting: dict[Hashable, int] = {}  # edges into a name whose source is not sorted yet
    for name, targets in graph.items():
        if isinstance(targets, (str, bytes)) or not isinstance(targets, Iterable):
            raise GraphError(
                f"{name!r} feeds {targets!r}; expected a list of names, as [{targets!r}]"
            )
        feeds[name] = list(targets)
        waiting.setdefault(name, 0)
        for target in feeds[name]:
            waiting[target] = waiting.get(target, 0) + 1

    ready = deque(name for name, count in waiting.items() if count == 0)
    order = []
    while ready:
        name = ready.popleft()
        order.append(name)
        for target in feeds.get(name, ()):
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    if len(order) < len(waiting):
        raise _cycle_error(_find_cycle(feeds, {name for name, count in waiting.items() if count}))
    return order


def _find_cycle(feeds: dict, left: set) -> list:
    """One cycle among the names Kahn's algorithm could not sort."""
    sources = {target: name for name in feeds if name in left for target in feeds[name]}
    name = next(iter(name for name in sources if name in left))
    seen: dict = {}
    while name not in seen:  # every name left is fed by another one left, so walking back returns
        seen[name] = len(seen)
        name = sources[name]
    return list(seen)[seen[name] :][::-1]


def _cycle_error(cycle: list) -> CycleError:
    around = [*cycle, cycle[0]]
    return CycleError(
        "the graph has a cycle: " + " → ".join(map(str, around)) + "; remove one of these edges",
        cycle,
    )
