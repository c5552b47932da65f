"""10. The model as a graph, and the order to compute it in.

A formula is a graph: every number and every function is a node, an edge says "is needed by". As a
plain dictionary: {name: [the names it feeds]}. To compute it, each node must come after all it
needs. Finding such an order is called *topological sort*.

Look at: at every step some nodes are ready (nothing they wait for is left). Take one, remove it
and its edges; that makes others ready. When nothing is ready but something is left, there is a
cycle.
Next: 11, walk that order forward, then backward.
"""

import fastgraph as fg
from _lesson import start
from fastgraph import plot

show = start(__doc__)

# %%
lesson = {
    "x": ["linear"],
    "k1": ["linear"],
    "b1": ["linear"],
    "linear": ["sigmoid"],
    "sigmoid": ["linear_2"],
    "k2": ["linear_2"],
    "b2": ["linear_2"],
    "linear_2": ["loss"],
    "y": ["loss"],
}
show(plot.graph(lesson, title="k2 * sigmoid(k1 * x + b1) + b2 and its loss"), "10_graph")


# %%
def topological_sort(graph):
    """The names in an order in which each comes after all that feed it; prints every step."""
    names = list(dict.fromkeys([*graph, *(name for feeds in graph.values() for name in feeds)]))
    edges = [(a, b) for a in graph for b in graph[a]]
    order, ready = [], [name for name in names if all(b != name for _, b in edges)]
    while ready:
        print(f"ready: {', '.join(ready):<24} remove {ready[0]}")
        taken = ready.pop(0)
        order.append(taken)
        fed = [b for a, b in edges if a == taken]
        edges = [(a, b) for a, b in edges if a != taken]
        ready += [name for name in fed if all(b != name for _, b in edges)]
    if edges:
        raise ValueError(f"nothing is ready, but edges are left, so there is a cycle: {edges}")
    return order


order = topological_sort(lesson)
print("order:    ", *order)
print("fastgraph:", *fg.topological_sort(lesson))

# %% [markdown]
# fastgraph's own sort does the same in time linear in nodes and edges. And a cycle:

# %%
try:
    fg.topological_sort({"egg": ["hen"], "hen": ["egg"], "corn": ["hen"]})
except fg.CycleError as error:
    message = str(error)
    print(message)
