"""Pictures of a graph, of its training and of its numbers.

Every function draws on the `ax` it is given, or on a new figure of pyplot's, and returns the Axes
(`animate` the animation): `plot.graph(graph).figure.savefig("graph.png")`. None calls `show()`, so
all work the same in a script, in a notebook and without a display.
Nothing here computes what the engines compute: a picture shows the values that are in the graph.

matplotlib and networkx are imported only when something is drawn; they are the extra `plot`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping

import numpy as np

from .errors import DataError, SettingError, ShapeError, require
from .node import Constant, Input, Node, Parameter
from .sort import topological_sort

__all__ = [
    "PALETTE", "STYLE", "animate", "distributions", "fit", "graph", "history", "loss_surface",
    "speed", "steps",
]  # fmt: skip

# ---------------------------------------------------------------- the look, in one place

# Okabe and Ito, "Color universal design" (2008): told apart by colour-blind readers.
PALETTE = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#7F7F7F",
}

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
}

# Lines differ in colour and in dash.
_LINES = [
    (PALETTE["vermillion"], "-"),
    (PALETTE["blue"], "--"),
    (PALETTE["green"], "-."),
    (PALETTE["purple"], ":"),
    (PALETTE["black"], (0, (5, 1, 1, 1, 1, 1))),
    (PALETTE["orange"], (0, (8, 2))),
]

# What a node is: fill, border and outline differ, so that no kind hangs on its colour alone.
_KINDS = {
    "input": ("#CFE6F7", PALETTE["blue"], "stadium"),
    "parameter": ("#FBE3B0", "#9A6A00", "hexagon"),
    "constant": ("#EEEEEE", PALETTE["grey"], "dashed"),
    "operation": ("#FFFFFF", PALETTE["black"], "rectangle"),
    "output": ("#F9D9C6", PALETTE["vermillion"], "double"),
}

_MOST_NODES = 400  # beyond this no picture of boxes and arrows can be read


def _styled(draw):
    """Give a drawing function the package's look, and a clear error where matplotlib is missing."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        with require("matplotlib", "plot").rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def _axes(ax, size):
    """The caller's Axes, or those of a new pyplot figure of `size` inches, dressed alike."""
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=size, layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(True, color=STYLE["grid.color"], linewidth=STYLE["grid.linewidth"])
    return ax


# ---------------------------------------------------------------- the graph as boxes and arrows


class _Picture:
    """A graph made ready for drawing: nodes in topological order, edges by index, a place for each.

    A place is (layer, height): the layer is the longest way from a source, except that a source
    stands right before the first node it feeds, so that weights are seen beside their operation.
    """

    def __init__(self, subject):
        self.is_graph = hasattr(subject, "nodes") and hasattr(subject, "label")
        if self.is_graph:
            self.nodes = list(subject.nodes)
            self.labels = [str(subject.label(node)) for node in self.nodes]
            self.kinds = [_kind(node, subject) for node in self.nodes]
            self.shapes = [_shape(node.value) for node in self.nodes]
            ways_in = [list(node.inputs) for node in self.nodes]
            index = {id(node): i for i, node in enumerate(self.nodes)}
            self.edges = [(index[id(a)], j) for j, ins in enumerate(ways_in) for a in ins]
        elif isinstance(subject, Mapping):
            self.nodes = list(topological_sort(subject))
            self.labels = [str(name) for name in self.nodes]
            index = {name: i for i, name in enumerate(self.nodes)}
            self.edges = [(index[a], index[b]) for a in subject for b in subject[a]]
            fed, feeding = {b for _, b in self.edges}, {a for a, _ in self.edges}
            self.kinds = [
                "input" if i not in fed else "operation" if i in feeding else "output"
                for i in range(len(self.nodes))
            ]
            self.shapes = [None] * len(self.nodes)
        else:
            raise SettingError(
                "plot: expected a Graph or a mapping {name: [names it feeds]}, "
                f"got {type(subject).__name__}"
            )
        if not self.nodes:
            raise SettingError("plot: the graph has no nodes, there is nothing to draw")
        if len(self.nodes) > _MOST_NODES:
            raise SettingError(
                f"plot: {len(self.nodes)} nodes cannot be read in one picture (at most "
                f"{_MOST_NODES}); build a Graph of a part of it"
            )
        self.places, self.ways = _layout(len(self.nodes), self.edges)
        self.n_layers = 1 + max(layer for layer, _ in self.places)


def _kind(node, graph):
    for kind, name in ((Input, "input"), (Parameter, "parameter"), (Constant, "constant")):
        if isinstance(node, kind):
            return name
    return "output" if any(node is output for output in graph.outputs) else "operation"


def _shape(value):
    """'506×13', 'scalar', or None where there is no value yet."""
    if value is None:
        return None
    return "×".join(map(str, np.shape(value))) or "scalar"


def _layout(n, edges):
    """Layered drawing after Sugiyama, Tagawa and Toda (1981): layer, order, then straighten.

    Returns the (layer, height) of each node, and for each edge the points it passes through on
    the layers between its ends. Edges of one source share those points, like a trunk.
    """
    layer = [0] * n
    for i, j in sorted(edges, key=lambda edge: edge[1]):
        layer[j] = max(layer[j], layer[i] + 1)
    fed = {j for _, j in edges}
    for i in set(range(n)) - fed:
        layer[i] = min((layer[j] for a, j in edges if a == i), default=1) - 1

    links, trunk, chains = [], {}, []
    for i, j in edges:
        chain = [i]
        for between in range(layer[i] + 1, layer[j]):
            if (i, between) not in trunk:
                trunk[i, between] = len(layer)
                layer.append(between)
            chain.append(trunk[i, between])
        chain.append(j)
        chains.append(chain)
        links += itertools.pairwise(chain)

    before, after = [[] for _ in layer], [[] for _ in layer]
    for a, b in links:
        before[b].append(a)
        after[a].append(b)
    rows = [[] for _ in range(max(layer) + 1)]
    for point, at in enumerate(layer):
        rows[at].append(point)

    for sweep in range(8):
        down = sweep % 2 == 0
        neighbours = before if down else after
        rank = {point: i for row in rows for i, point in enumerate(row)}
        for row in rows if down else reversed(rows):
            centre = {p: np.mean([rank[q] for q in neighbours[p]] or [rank[p]]) for p in row}
            row.sort(key=centre.__getitem__)
            rank.update((point, i) for i, point in enumerate(row))

    nx = require("networkx", "plot")
    net = nx.DiGraph()
    net.add_nodes_from(range(len(layer)))
    unit = max(len(rows), *map(len, rows)) - 1  # networkx scales to [-1, 1]: undo that
    places = nx.multipartite_layout(net, subset_key=dict(enumerate(rows)), scale=unit / 2)
    height = {point: float(places[point][1]) for point in range(len(layer))}
    for sweep in range(12):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wish = [np.mean([height[q] for q in before[p] + after[p]] or [height[p]]) for p in row]
            gaps = [1.0 if max(p, q) < n else 0.6 for p, q in itertools.pairwise(row)]
            height.update(zip(row, _spread(wish, gaps), strict=True))

    return [(layer[i], height[i]) for i in range(n)], [
        [(layer[p], height[p]) for p in chain[1:-1]] for chain in chains
    ]


def _spread(wish, gaps):
    """Numbers near `wish`, ascending, at least `gaps` apart: the mean of pushing up and down."""
    up, down = list(wish), list(wish)
    for i, gap in enumerate(gaps):
        up[i + 1] = max(up[i + 1], up[i] + gap)
    for i, gap in reversed(list(enumerate(gaps))):
        down[i] = min(down[i], down[i + 1] - gap)
    return [(a + b) / 2 for a, b in zip(up, down, strict=True)]


class _Canvas:
    """Where a picture's boxes stand, in inches at natural size; x to the right, y up."""

    def __init__(self, picture, *, wide_text=0, gap=None):
        self.picture = picture
        self.right = picture.n_layers <= 9  # deeper graphs run down the page
        longest = max(min(len(label), 18) for label in picture.labels)
        self.width = max(0.85, 0.085 * max(longest, wide_text) + 0.2)
        self.height = 0.46
        if gap is None:
            gap = 0.75 if self.right else 0.42
        self.pitch = (
            (self.width + gap, self.height + 0.3) if self.right
            else (self.height + gap, self.width + 0.25)
        )  # fmt: skip
        self.centres = [self.at(*place) for place in picture.places]
        points = self.centres + [self.at(*point) for way in picture.ways for point in way]
        xs, ys = zip(*points, strict=True)
        self.left, self.bottom = min(xs) - self.width / 2 - 0.15, min(ys) - self.height / 2 - 0.15
        self.size = (
            max(xs) + self.width / 2 + 0.15 - self.left,
            max(ys) + self.height / 2 + 0.22 - self.bottom,
        )

    def at(self, layer, height):
        along, across = layer * self.pitch[0], height * self.pitch[1]
        return (along, -across) if self.right else (across, -along)

    def side(self, centre, sign, shift=0.0):
        """The middle of a box's way in (sign -1) or out (+1), moved along that side by `shift`."""
        x, y = centre
        if self.right:
            return x + sign * self.width / 2, y - shift * self.height
        return x + shift * self.width, y - sign * self.height / 2

    def curve(self, points):
        """A smooth path through the points that leaves and arrives along the layers' direction."""
        from matplotlib.path import Path

        vertices, codes = [points[0]], [Path.MOVETO]
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            if self.right:
                middle = [((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1)]
            else:
                middle = [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2)]
            vertices += [*middle, (x1, y1)]
            codes += [Path.CURVE4] * 3
        return Path(vertices, codes)

    def through(self, point):
        """A trunk runs straight across the layer of boxes it passes."""
        return [self.side(self.at(*point), -1), self.side(self.at(*point), 1)]

    def routes(self):
        """Each edge's points, from the way out of its source to its own port of its target."""
        picture = self.picture
        arrivals = {}
        for edge, (_, j) in enumerate(picture.edges):
            arrivals.setdefault(j, []).append(edge)
        routes = [None] * len(picture.edges)
        for j, ways_in in arrivals.items():

            def origin(edge):
                way = picture.ways[edge]
                return way[-1][1] if way else picture.places[picture.edges[edge][0]][1]

            ways_in.sort(key=origin)
            for port, edge in enumerate(ways_in):
                shift = 0.0 if len(ways_in) == 1 else 0.56 * (port / (len(ways_in) - 1) - 0.5)
                route = [self.side(self.centres[picture.edges[edge][0]], 1)]
                for point in picture.ways[edge]:
                    route += self.through(point)
                routes[edge] = [*route, self.side(self.centres[j], -1, shift)]
        return routes


def _outline(shape, x, y, width, height, **look):
    """The patches of one node: the outline tells its kind without colour."""
    from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

    left, bottom = x - width / 2, y - height / 2
    if shape == "stadium":
        box = f"round,pad=0,rounding_size={height / 2}"
        return [FancyBboxPatch((left, bottom), width, height, boxstyle=box, **look)]
    if shape == "hexagon":
        cut = height / 3
        xs = [left, left + cut, left + width - cut, left + width, left + width - cut, left + cut]
        ys = [y, bottom + height, bottom + height, y, bottom, bottom]
        return [Polygon(list(zip(xs, ys, strict=True)), closed=True, **look)]
    patches = [Rectangle((left, bottom), width, height, **look)]
    if shape == "dashed":
        patches[0].set_linestyle((0, (3, 2)))
    if shape == "double":
        inner = {**look, "facecolor": "none", "linewidth": look["linewidth"] * 0.6}
        rim = height * 0.1
        patches.append(
            Rectangle((left + rim, bottom + rim), width - 2 * rim, height - 2 * rim, **inner)
        )
    return patches


def _shorten(text, longest=18):
    return text if len(text) <= longest else f"{text[: longest - 8]}…{text[-7:]}"


def _inches(ax):
    """Width and height of the place of `ax`, after the figure's layout has been settled."""
    figure = ax.figure.figure  # the whole one, also from a subfigure
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
    place = ax.get_position(original=True)
    width, height = figure.get_size_inches()
    return place.width * width, place.height * height


def _draw(
    ax, canvas, *, second=None, paint=None, on_edges=None, badges=None, legend=True, inches=None
):
    """Boxes, arrows and words on `ax`; the arguments say what differs from one box to the next.

    second: the small second line of each box. paint: {index: (fill, border, text colour)}.
    on_edges: {edge: text at its arrow}. badges: {index: number in the corner}. inches: the size of
    the place of `ax`, where it is known.
    """
    from matplotlib.patches import FancyArrowPatch

    picture = canvas.picture
    second = second or [""] * len(picture.nodes)
    groups = [kind for kind in _KINDS if kind in picture.kinds] if legend else []
    foot = 0.42 if groups else 0.0
    width = max(canvas.size[0], 1.15 * len(groups))
    left = canvas.left - (width - canvas.size[0]) / 2
    ax.set_xlim(left, left + width)
    ax.set_ylim(canvas.bottom - foot, canvas.bottom + canvas.size[1])
    ax.set_aspect("equal")
    ax.axis("off")
    across, along = inches or _inches(ax)
    scale = min(across / width, along / (canvas.size[1] + foot), 1.3)
    points = 9.5 * scale
    line = 1.1 * scale

    turns = {}  # how far a node's edges bend up (or, in deep graphs, left): words go the other way
    for edge, route in enumerate(canvas.routes()):
        (x0, y0), (x1, y1) = route[0], route[1]
        i = picture.edges[edge][0]
        turns[i] = turns.get(i, 0.0) + (y1 - y0 if canvas.right else x0 - x1)
        ax.add_patch(
            FancyArrowPatch(
                path=canvas.curve(route), arrowstyle="-|>", mutation_scale=9 * scale,
                linewidth=0.9 * scale, color="#555555", fill=False, zorder=1,
            )
        )  # fmt: skip
        if on_edges and on_edges.get(edge):
            (x0, y0), (x1, y1) = route[-2:]
            ax.text(
                0.45 * x0 + 0.55 * x1, 0.45 * y0 + 0.55 * y1, on_edges[edge],
                fontsize=0.76 * points, ha="center", va="center", zorder=4, color="#333333",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.9},
            )  # fmt: skip

    for i, (x, y) in enumerate(canvas.centres):
        fill, border, shape = _KINDS[picture.kinds[i]]
        ink = "black"
        thick = 1.0
        if paint and i in paint:
            fill, border, ink = paint[i][:3]
            thick = 2.2
        for patch in _outline(
            shape, x, y, canvas.width, canvas.height,
            facecolor=fill, edgecolor=border, linewidth=line * thick, zorder=2,
        ):  # fmt: skip
            ax.add_patch(patch)
        lift = 0.085 if second[i] else 0.0
        ax.text(
            x, y + lift, _shorten(picture.labels[i]), fontsize=points, ha="center", va="center",
            color=ink, zorder=3, fontweight="bold",
        )  # fmt: skip
        if second[i]:
            ax.text(
                x, y - 0.105, second[i], fontsize=0.8 * points, ha="center", va="center",
                color=ink if ink != "black" else "#444444", zorder=3,
            )  # fmt: skip
        if badges and i in badges:
            now = badges[i] == len(badges)
            ax.text(
                x - canvas.width / 2 + 0.02, y + canvas.height / 2, str(badges[i]),
                fontsize=0.95 * points, ha="center", va="center", zorder=5,
                fontweight="bold" if now else "normal",
                bbox={"boxstyle": "circle,pad=0.2", "facecolor": "#F0E442" if now else "white",
                      "edgecolor": "black", "linewidth": line},
            )  # fmt: skip
        if on_edges is None and picture.shapes[i] and i in turns:
            px, py = canvas.side((x, y), 1)
            away = -1 if turns[i] > 0.02 else 1
            if canvas.right:
                spot = {"x": px + 0.06, "y": py + 0.05 * away, "ha": "left"}
                spot["va"] = "bottom" if away > 0 else "top"
            else:
                spot = {"x": px - 0.06 * away, "y": py - 0.05, "va": "top"}
                spot["ha"] = "left" if away < 0 else "right"
            ax.text(
                s=picture.shapes[i], fontsize=0.78 * points, color="#444444", zorder=4, **spot
            )

    for i, kind in enumerate(groups):
        fill, border, shape = _KINDS[kind]
        x, y = left + width / 2 + (i - (len(groups) - 1) / 2) * 1.1, canvas.bottom - foot / 2
        for patch in _outline(
            shape, x - 0.38, y, 0.3, 0.18, facecolor=fill, edgecolor=border, linewidth=line
        ):
            ax.add_patch(patch)
        ax.text(x - 0.18, y, kind, fontsize=0.8 * points, ha="left", va="center")
    return ax


def _natural_size(canvas, scale=1.0, foot=0.42):
    return scale * max(canvas.size[0], 5.0), scale * (canvas.size[1] + foot) + 0.35


@_styled
def graph(graph, *, title=None, ax=None):
    """Draw a graph in topological layers: an edge always leads to a later layer.

    A node's kind is told by colour and by outline (input: rounded ends, parameter: hexagon,
    constant: dashed, operation: rectangle, output: double rectangle). The shape of a node's value
    stands where its edges begin, once the graph has been run. Graphs of up to nine layers run to
    the right, deeper ones down.

    Parameters:
        graph: a Graph, or a plain mapping `{name: [names it feeds]}` as in `topological_sort`.
        title: a line above the picture.
        ax: the Axes to draw on; a new figure of fitting size without it.

    Returns:
        The Axes.

    Raises:
        CycleError: the mapping holds a cycle. SettingError: no graph, no nodes, or over 400.

    Example:
        >>> ax = graph({"x": ["linear"], "k": ["linear"], "b": ["linear"], "linear": ["loss"]})
        >>> sorted(text.get_text() for text in ax.texts)[:4]
        ['b', 'input', 'k', 'linear']
    """
    picture = _Picture(graph)
    canvas = _Canvas(picture)
    ax = _axes(ax, _natural_size(canvas))
    _draw(ax, canvas, second=[*map(_second_line, picture.nodes, picture.labels)])
    if title:
        ax.set_title(title)
    return ax


def _second_line(node, label):
    """The kind below the name, left out where the outline or the name has said it."""
    if isinstance(node, Constant) and node.constant.size == 1:
        return f"{node.constant.item():.4g}"
    if not isinstance(node, Node) or isinstance(node, (Input, Parameter, Constant)):
        return ""
    return "" if label.rsplit("_", 1)[0] == node.kind.lower() else node.kind


# ---------------------------------------------------------------- the passes, step by step

# The lesson's colours: green waits, red has been reached going forward, black going back. The
# number in the corner and the thick border say the same without colour.
_WAITING = ("#CDEBDF", PALETTE["green"], "black")
_REACHED = {
    "forward": ("#D55E00", "#7A3600", "white"),
    "backward": ("#222222", "#000000", "white"),
}


@_styled
def steps(graph, direction="forward", *, only=None, columns=None, ax=None):
    """Draw one small graph a step: which nodes the forward or the backward pass has reached.

    Waiting nodes are green; going forward the reached ones are red, going back black, with the
    number of the step in the corner. For a Graph that has been run, a reached node shows its value,
    going back its gradient, and each edge of the step its local derivative: a number where both
    ends hold one number, else the norm of what flows back (`node.gradients[input]`).

    Parameters:
        graph: a Graph or a mapping, as in `graph`.
        direction: "forward" (topological order) or "backward" (its reverse).
        only: which steps to draw, as a list of indices; [-1] is the finished pass alone.
        columns: small graphs in a row; chosen by their width without it.
        ax: Axes whose place the whole grid takes; a new figure without it.

    Returns:
        The Axes that hold the grid; the small graphs are its `child_axes`, in order.
    """
    picture, canvas = _step_canvas(graph)
    frames = _frames(picture, direction)
    if direction == "both":
        raise SettingError("plot.steps: direction is 'forward' or 'backward', got 'both'")
    if only is not None:
        outside = [step for step in only if not -len(frames) <= step < len(frames)]
        if outside or not len(only):
            raise SettingError(
                f"plot.steps: only must name some of the {len(frames)} steps, got {only}"
            )
        frames = [frames[step] for step in only]
    width, height = ((1.0 if len(frames) == 1 else 0.72) * length for length in canvas.size)
    columns = columns or max(1, min(len(frames), int(13 / (width + 0.2))))
    rows = math.ceil(len(frames) / columns)
    base = _axes(ax, (columns * (width + 0.25), rows * (height + 0.42)))
    base.axis("off")
    for i, frame in enumerate(frames):
        x, y = (i % columns) / columns, 1 - (i // columns + 1) / rows
        title = 0.36 / (height + 0.42)
        panel = base.inset_axes([x, y, 0.98 / columns, (1 - title) / rows])
        _draw_frame(panel, canvas, frame, inches=(width, height))
    return base


@_styled
def animate(graph, direction="both", *, path=None, interval=800, ax=None):
    """The pictures of `steps` as an animation, forward, backward, or the one after the other.

    Parameters:
        graph, direction: as in `steps`; direction may also be "both".
        path: where to save it (".gif" needs nothing but matplotlib); not saved without it.
        interval: milliseconds a step, more than 0.
        ax: the Axes to draw on; a new figure without it.

    Returns:
        A matplotlib FuncAnimation; keep it, or save it with `.save("pass.gif", writer="pillow")`.
    """
    if not interval > 0:
        raise SettingError(f"plot.animate: interval is in milliseconds and above 0, got {interval}")
    from matplotlib.animation import FuncAnimation

    picture, canvas = _step_canvas(graph)
    frames = _frames(picture, direction)
    ax = _axes(ax, _natural_size(canvas, foot=0.0))
    inches = _inches(ax)

    def show(frame):
        ax.clear()
        _draw_frame(ax, canvas, frame, inches)
        return []

    animation = FuncAnimation(
        ax.figure, show, frames=frames, interval=interval, init_func=list
    )
    if path is not None:
        animation.save(path, writer="pillow")
    return animation


def _step_canvas(graph):
    picture = _Picture(graph)
    if picture.is_graph:  # room for numbers in the boxes and on the edges
        return picture, _Canvas(picture, wide_text=11, gap=0.9)
    return picture, _Canvas(picture, gap=0.4)


def _frames(picture, direction):
    """[(direction, nodes reached so far, going the way they are reached)] for each step."""
    order = list(range(len(picture.nodes)))
    ways = {"forward": [order], "backward": [order[::-1]], "both": [order, order[::-1]]}
    if direction not in ways:
        raise SettingError(
            f"plot: direction is 'forward', 'backward' or 'both', got {direction!r}"
        )
    names = ["forward", "backward"] if direction == "both" else [direction]
    return [
        (name, picture, way[: i + 1])
        for name, way in zip(names, ways[direction], strict=True)
        for i in range(len(way))
    ]


def _draw_frame(ax, canvas, frame, inches):
    direction, picture, reached = frame
    now = reached[-1]
    paint = dict.fromkeys(range(len(picture.nodes)), _WAITING)
    paint.update(dict.fromkeys(reached, _REACHED[direction]))
    second = [""] * len(picture.nodes)
    on_edges = {}
    if picture.is_graph:
        for i in reached:
            node = picture.nodes[i]
            second[i] = (
                _number(node.value) if direction == "forward" else _number(node.gradient, "∂ ")
            )
        if direction == "backward":
            gone = set(reached)
            for edge, (i, j) in enumerate(picture.edges):
                if j in gone:
                    on_edges[edge] = _local(picture.nodes[j], picture.nodes[i])
    badges = {i: step + 1 for step, i in enumerate(reached)}
    _draw(
        ax, canvas, second=second, paint=paint, on_edges=on_edges, badges=badges, legend=False,
        inches=inches,
    )  # fmt: skip
    ax.set_title(f"{direction} {len(reached)}: {picture.labels[now]}", fontsize=9, pad=3)


def _number(value, prefix=""):
    """'3.142' for one number, 'mean 0.31' for more, '' for nothing."""
    if value is None:
        return ""
    value = np.asarray(value)
    if value.size == 1:
        return f"{prefix}{value.item():.4g}"
    return f"{prefix}mean {value.mean():.3g}"


def _local(node, source):
    """The derivative of `node` by its input `source` as a number, or the norm of the flow."""
    if node.value is None or source.value is None or node.gradient is None:
        return ""
    if np.size(node.value) == 1 and np.size(source.value) == 1:
        values = [one.value for one in node.inputs]
        parts = node.backward(np.ones_like(node.value), *values)
        here = [part for part, one in zip(parts, node.inputs, strict=True) if one is source]
        return f"{sum(np.sum(part) for part in here):.4g}"
    flow = node.gradients.get(source)
    return "" if flow is None else f"norm {np.linalg.norm(flow):.3g}"


# ---------------------------------------------------------------- data and training


def _vector(values, where, name):
    """(n,) float64 from (n,) or (n, 1) numbers."""
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {name} holds something that is no number") from None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not values.size:
        raise ShapeError(f"{where}: {name} must have shape (n,) or (n, 1), got {values.shape}")
    return values


@_styled
def fit(x, y, curves=None, *, xlabel="x", ylabel="y", title=None, ax=None):
    """Scatter the data and draw one or more fitted curves over it.

    Parameters:
        x, y: (n,) or (n, 1), the same n.
        curves: `{label: curve}`, or one curve. A curve is a function that takes (m,) and returns
            (m,) or (m, 1), drawn over the range of x, or the (n,) predictions for x.
        xlabel, ylabel: name the unit too, as in "price (thousands of dollars)".
        title: a line above the picture.
        ax: the Axes to draw on; a new figure without it.

    Returns:
        The Axes: one collection (the scatter) and a line a curve.

    Example:
        >>> ax = fit([0, 1, 2], [1, 3, 5], {"2x + 1": lambda x: 2 * x + 1})
        >>> ax.lines[0].get_label()
        '2x + 1'
    """
    x, y = _vector(x, "plot.fit", "x"), _vector(y, "plot.fit", "y")
    if x.shape != y.shape:
        raise ShapeError(f"plot.fit: x has {x.size} rows, y has {y.size}; they must be the same")
    if curves is None:
        curves = {}
    elif not isinstance(curves, Mapping):
        curves = {"fit": curves}
    ax = _axes(ax, (6.4, 4.4))
    ax.scatter(x, y, s=16, color=PALETTE["sky"], edgecolor=PALETTE["blue"], linewidth=0.4,
               alpha=0.75, label=f"data ({x.size})")  # fmt: skip
    for i, (label, curve) in enumerate(curves.items()):
        if callable(curve):
            at = np.linspace(x.min(), x.max(), 200)
            height = _vector(curve(at), "plot.fit", f"curve {label!r}")
        else:
            order = np.argsort(x, kind="stable")
            at, height = x[order], _vector(curve, "plot.fit", f"curve {label!r}")
            if height.shape != x.shape:
                raise ShapeError(
                    f"plot.fit: curve {label!r} has {height.size} rows, x has {x.size}"
                )
            height = height[order]
        color, dash = _LINES[i % len(_LINES)]
        ax.plot(at, height, color=color, linestyle=dash, linewidth=2.2, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if title:
        ax.set_title(title)
    if ax.figure.figure.get_layout_engine() is None:
        ax.legend(frameon=True, framealpha=0.85, edgecolor="none")
    else:  # which makes room for it below, where it hides no point
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13))
    return ax


@_styled
def history(history, *, validation=None, log=True, best=True, xlabel="epoch", title=None, ax=None):
    """Draw the loss by epoch on a log axis, the validation loss too, and mark the best epoch.

    Parameters:
        history: what `Graph.fit` returned, or the (epochs,) losses, or `{label: either}` to compare
            several runs.
        validation: (epochs,) validation losses; taken from `history.validation_loss` if it has any.
        log: a logarithmic loss axis; a loss that reaches 0 is drawn on a linear one.
        best: mark the epoch of the lowest (validation) loss of a single run.
        xlabel: what is counted.
        title: a line above the picture.
        ax: the Axes to draw on; a new figure without it.

    Returns:
        The Axes.
    """
    runs = history if isinstance(history, Mapping) else {"training": history}
    ax = _axes(ax, (6.4, 4.0))
    drawn = {}
    for label, run in runs.items():
        drawn[label] = _vector(getattr(run, "loss", run), "plot.history", label)
    if not isinstance(history, Mapping):
        if validation is None:
            validation = getattr(history, "validation_loss", None)
        if validation is not None and len(validation):
            drawn["validation"] = _vector(validation, "plot.history", "validation")
    elif validation is not None:
        raise SettingError("plot.history: give the validation losses as a run of their own")
    for i, (label, loss) in enumerate(drawn.items()):
        color, dash = _LINES[i % len(_LINES)]
        ax.plot(np.arange(1, loss.size + 1), loss, color=color, linestyle=dash, label=label)
    if best and not isinstance(history, Mapping):
        loss = drawn.get("validation", drawn["training"])
        if np.isfinite(loss).any():
            at = int(np.nanargmin(loss))
            ax.plot(at + 1, loss[at], "o", color="black", markersize=6, markerfacecolor="white",
                    label=f"best: {loss[at]:.4g} at {xlabel} {at + 1}")  # fmt: skip
    finite = np.concatenate([loss[np.isfinite(loss)] for loss in drawn.values()])
    if log and finite.size and finite.min() > 0:
        ax.set_yscale("log")
        _plain_log_ticks(ax.yaxis, finite)
    ax.set(xlabel=xlabel, ylabel="loss")
    if title:
        ax.set_title(title)
    ax.legend()
    return ax


def _plain_log_ticks(axis, values):
    """Within three decades a log axis of powers of ten has hardly a tick: write 50, not 5×10¹."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if values.max() / values.min() > 1000:
        return
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axis.set_minor_formatter(NullFormatter())


@_styled
def loss_surface(
    graph,
    k,
    b,
    feeds=None,
    *,
    path=None,
    marks=None,
    k_range=None,
    b_range=None,
    points=41,
    ax=None,
):
    """Contours of the graph's loss over two one-number parameters, and the way training took.

    The graph is run forward at `points` x `points` places; the parameters are put back after.

    Parameters:
        graph: a Graph with one output, the loss.
        k, b: two of its Parameters, of one element each; k goes to the right, b up.
        feeds: the data, as for `Graph.forward`; what was fed last without it.
        path: (n, 2) pairs (k, b), or `{label: pairs}` for several, drawn as lines from a hollow
            start to a full end.
        marks: `{label: (k, b)}`, drawn as stars; the least-squares answer, say.
        k_range, b_range: (low, high); what holds the paths, the marks and the present values, and
            a quarter more, without it.
        points: places on each axis, at least 2.
        ax: the Axes to draw on; a new figure without it.

    Returns:
        The Axes.
    """
    if points < 2:
        raise SettingError(f"plot.loss_surface: points must be at least 2, got {points}")
    for parameter in (k, b):
        if not isinstance(parameter, Parameter) or np.size(parameter.value) != 1:
            raise SettingError(
                "plot.loss_surface: k and b are Parameters of one element each, "
                f"got {parameter!r}"
            )
    paths = path if isinstance(path, Mapping) else {} if path is None else {"path": path}
    paths = {label: np.asarray(way, dtype=np.float64) for label, way in paths.items()}
    for label, way in paths.items():
        if way.ndim != 2 or way.shape[1] != 2 or not len(way):
            raise ShapeError(
                f"plot.loss_surface: {label!r} must have shape (n, 2), got {way.shape}"
            )
    marks = marks or {}
    here = [np.asarray(one.value).item() for one in (k, b)]
    seen = np.vstack([here, *paths.values(), *[np.reshape(at, (1, 2)) for at in marks.values()]])
    k_range = _around(seen[:, 0]) if k_range is None else k_range
    b_range = _around(seen[:, 1]) if b_range is None else b_range
    if feeds is None:
        feeds = {node: node.value for node in graph.inputs}
    ks, bs = np.linspace(*k_range, points), np.linspace(*b_range, points)
    loss = _losses(graph, feeds, k, b, ks, bs)

    ax = _axes(ax, (6.2, 4.8))
    positive = np.maximum(loss, np.finfo(float).tiny)
    levels = np.geomspace(positive.min(), positive.max() * (1 + 1e-9), 15)
    if levels[0] < levels[-1]:
        from matplotlib.colors import LogNorm

        filled = ax.contourf(ks, bs, positive, levels=levels, norm=LogNorm(), cmap="cividis_r")
        ax.contour(ks, bs, positive, levels=levels, colors="white", linewidths=0.4)
        bar = ax.figure.colorbar(filled, ax=ax, label="loss", ticks=levels[::2])
        bar.ax.minorticks_off()
        bar.ax.set_yticks(levels[::2], [_plain(level) for level in levels[::2]])
    for i, (label, way) in enumerate(paths.items()):
        color, dash = _LINES[i % len(_LINES)]
        ax.plot(*way.T, color="white", linewidth=3.2, zorder=3)
        ax.plot(*way.T, color=color, linestyle=dash, linewidth=1.8, label=label, zorder=4)
        ax.plot(*way[0], "o", color=color, markerfacecolor="white", markersize=7, zorder=5)
        ax.plot(*way[-1], "o", color=color, markeredgecolor="white", markersize=7, zorder=5)
    for label, at in marks.items():
        ax.plot(*np.ravel(at), "*", color="black", markeredgecolor="white", markersize=15,
                linestyle="none", label=label, zorder=6)  # fmt: skip
    ax.set(xlabel=graph.label(k), ylabel=graph.label(b), xlim=k_range, ylim=b_range)
    ax.grid(False)
    if paths or marks:
        ax.legend(frameon=True, framealpha=0.9)
    return ax


def _plain(number):
    """'4,210', '83.8', '1.2e-05'."""
    return f"{number:,.0f}" if 100 <= number < 1e7 else f"{number:.3g}"


def _around(values):
    low, high = float(values.min()), float(values.max())
    margin = 0.25 * (high - low) or max(1.0, abs(low))
    return low - margin, high + margin


def _losses(graph, feeds, k, b, ks, bs):
    """(len(bs), len(ks)) losses; the parameters are what they were, whatever happens."""
    if len(graph.outputs) != 1:
        raise SettingError(
            f"plot.loss_surface: the graph must have one output, it has {len(graph.outputs)}"
        )
    output = graph.outputs[0]
    before = [(one, np.array(one.value)) for one in (k, b)]
    loss = np.empty((len(bs), len(ks)))
    try:
        for j, at_k in enumerate(ks):
            k.value = np.full_like(before[0][1], at_k)
            for i, at_b in enumerate(bs):
                b.value = np.full_like(before[1][1], at_b)
                graph.forward(feeds)
                loss[i, j] = np.asarray(output.value).item()
    finally:
        for parameter, value in before:
            parameter.value = value
        graph.forward(feeds)
    return loss


@_styled
def distributions(graph, *, ax=None):
    """Draw how the values and the gradients of each node are spread, in topological order.

    To the left the values (linear from -1 to 1, logarithmic beyond), to the right the sizes of the
    gradients on a log axis: gradients that vanish or explode on the way back are seen as a slope.
    The thick bar holds the middle half of the elements, the thin one those from 5 to 95 %, the dot
    is the median; where elements are exactly 0, their share is written (a dead ReLU shows so).

    Parameters:
        graph: a Graph after `forward` and `backward`.
        ax: Axes whose place both panels take; a new figure without it.

    Returns:
        The Axes that hold the panels; these are its `child_axes`: values, gradients.

    Raises:
        SettingError: the graph has not been run forward.
    """
    rows = [node for node in graph.nodes if not isinstance(node, Constant)]
    labels = [_shorten(str(graph.label(node))) for node in rows]
    if any(node.value is None for node in rows):
        raise SettingError("plot.distributions: run graph.forward(feeds) and backward() first")
    base = _axes(ax, (9.0, 1.2 + 0.3 * len(rows)))
    base.axis("off")
    left, right = base.inset_axes([0, 0, 0.47, 1]), base.inset_axes([0.51, 0, 0.41, 1])
    for i, node in enumerate(rows):
        color = _KINDS[_kind(node, graph)][1]
        _bars(left, i, np.ravel(node.value), color)
        if node.gradient is not None:
            size = np.abs(np.ravel(node.gradient))
            if size.any():
                _bars(right, i, size[size > 0], color)
            zeros = np.mean(size == 0)
            if zeros:
                right.text(1.02, i, f"{zeros:.0%} zero", transform=right.get_yaxis_transform(),
                           fontsize=8, ha="left", va="center", color="#444444")  # fmt: skip
    left.set_xscale("symlog", linthresh=1)  # a loss of 500 would press all the rest together
    right.set_xscale("log")
    _plain_log_ticks(right.xaxis, np.array(right.get_xlim()))
    titles = "values (bar: middle half, line: 5 to 95 %)", "sizes of the gradients"
    for panel, title in zip((left, right), titles, strict=True):
        panel.set(yticks=range(len(rows)), ylim=(len(rows) - 0.5, -0.5), title=title)
    left.set_yticklabels(labels)
    right.set_yticklabels([])
    return base


def _bars(ax, row, values, color):
    low, quarter, median, three, high = np.percentile(values, (5, 25, 50, 75, 95))
    ax.plot([low, high], [row, row], color=color, linewidth=1.2, solid_capstyle="butt")
    ax.plot([quarter, three], [row, row], color=color, linewidth=7, solid_capstyle="butt")
    ax.plot(median, row, "o", color="white", markeredgecolor=color, markersize=5)


@_styled
def speed(rates, *, unit="steps per second", title=None, ax=None):
    """Compare speeds as horizontal bars on a log axis, one group a workload.

    Parameters:
        rates: `{workload: {engine: rate}}`, rates above 0, in `unit`.
        unit: what the axis says.
        title: a line above the picture.
        ax: the Axes to draw on; a new figure without it.

    Returns:
        The Axes: a bar, with its number, for each rate.
    """
    engines = list(dict.fromkeys(name for group in rates.values() for name in group))
    if any(not rate > 0 for group in rates.values() for rate in group.values()):
        raise DataError("plot.speed: rates must be above 0")
    ax = _axes(ax, (7.2, 1.0 + 0.32 * sum(len(group) + 0.8 for group in rates.values())))
    hatches = ["", "///", "...", "xx", "--", "oo"]
    ticks, top = [], 0.0
    for workload, group in rates.items():
        first = top
        for name, rate in group.items():
            i = engines.index(name)
            ax.barh(top, rate, height=0.8, color=_LINES[i % len(_LINES)][0], alpha=0.8,
                    hatch=hatches[i % len(hatches)], edgecolor="white", label=name)  # fmt: skip
            ax.annotate(_count(rate), (rate, top), xytext=(4, 0), textcoords="offset points",
                        va="center", fontsize=9)  # fmt: skip
            top += 1
        ticks.append(((first + top - 1) / 2, workload))
        top += 0.8
    ax.set_xscale("log")
    ax.set_yticks(*zip(*ticks, strict=True))
    ax.invert_yaxis()
    every = [rate for group in rates.values() for rate in group.values()]
    ax.set_xlim(10 ** np.floor(np.log10(min(every)) - 0.2), max(every) * 5)
    ax.set_xlabel(unit)
    ax.grid(False, axis="y")
    if title:
        ax.set_title(title)
    named = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))  # one entry an engine
    ax.legend(named.values(), named.keys(), loc="upper center", ncols=len(named),
              bbox_to_anchor=(0.45, -0.18 if len(rates) > 1 else -0.3))  # fmt: skip
    return ax


def _count(number):
    """'1.23 M', '45.6 k', '789'."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
