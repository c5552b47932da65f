"""The page of the microscope: HTML, style and script, with places for a title and the data.

It fetches nothing, and its policy forbids it to. All names and texts of users are put in as text,
never as markup. The functions under `operations` are those of `fastgraph.ops`, by the same names.
"""

def escape(text: str) -> str:
    """Text as HTML shows it. As ``html.escape``, whose module costs an import of all entities."""
    for character, entity in (
        ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;"),
    ):  # fmt: skip
        text = text.replace(character, entity)
    return text


PAGE = r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%TITLE%</title>
<style>
:root { --ink: #1a1a1a; --soft: #555; --line: #d0d0d0; --red: #d55e00; --mark: #f0e442; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: #fff; }
header { padding: 12px 20px 0; }
h1 { font-size: 20px; margin: 0; }
h2 { font-size: 18px; margin: 0; }
h3 { font-size: 14px; margin: 14px 0 4px; }
#controls { display: flex; flex-wrap: wrap; gap: 8px 22px; align-items: center; padding: 8px 20px;
  border-bottom: 1px solid var(--line); }
#controls label { display: flex; gap: 8px; align-items: center; }
#controls input[type=range] { width: 190px; }
output { min-width: 9.5em; font-variant-numeric: tabular-nums; }
button, select, input { font: inherit; }
button { padding: 2px 10px; }
main { display: grid; grid-template-columns: minmax(0, 1fr) 430px; }
#left { padding: 12px 20px; overflow-x: auto; }
#detail { border-left: 1px solid var(--line); padding: 14px 20px; min-height: 420px; }
#graph { display: block; margin: auto; max-width: 100%; height: auto; }
.node { cursor: pointer; }
.node:focus { outline: none; }
.node:focus .box, .node.chosen .box { stroke-width: 4; }
.node.now .box { stroke-dasharray: 7 3; stroke-width: 4; }
.name { font-weight: 600; font-size: 14px; text-anchor: middle; }
.number { font-size: 12px; text-anchor: middle; font-variant-numeric: tabular-nums; }
.edge { fill: none; stroke: #8a8a8a; stroke-width: 1.4; }
.edge.chosen { stroke: var(--ink); stroke-width: 2.6; }
.local { font-size: 12px; text-anchor: end; paint-order: stroke; stroke: #fff;
  stroke-width: 5px; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
td { padding: 1px 7px; white-space: nowrap; text-align: right; border: 1px solid #eee; }
.scroll { max-height: 190px; overflow: auto; }
.soft { color: var(--soft); margin: 2px 0; }
.chain { font-variant-numeric: tabular-nums; margin: 4px 0 8px; padding: 6px 9px;
  background: #f5f5f5; border-left: 4px solid var(--line); overflow-wrap: anywhere; }
.edit { width: 8.5em; }
kbd { border: 1px solid var(--line); border-radius: 3px; padding: 0 4px; font: 13px monospace; }
.legend span { margin-right: 16px; white-space: nowrap; }
.legend i { display: inline-block; width: 15px; height: 11px; margin-right: 5px;
  border: 2px solid #444; }
@media (max-width: 960px) { main { grid-template-columns: 1fr; }
  #detail { border-left: 0; border-top: 1px solid var(--line); } }
</style>
</head>
<body>
<header><h1 id="title"></h1><p class="soft" id="status"></p></header>
<div id="controls">
  <label>training step <input type="range" id="step" min="0"><output id="step-now"></output></label>
  <label>pass <input type="range" id="at" min="0"><output id="at-now"></output></label>
  <span><button id="back" aria-label="one node back">&#9664;</button>
  <button id="forth" aria-label="one node on">&#9654;</button>
  <button id="play">play</button></span>
  <label>row <select id="row"></select></label>
  <button id="undo" hidden>undo edits</button>
</div>
<main>
  <div id="left">
    <svg id="graph" role="group" aria-label="the computing graph"></svg>
    <p class="legend soft"><span><i style="background:#cdebdf;border-color:#009e73"></i>waits</span>
      <span><i style="background:#d55e00"></i>reached forward: its value</span>
      <span><i style="background:#222"></i>reached backward: its gradient &#8706; too</span>
      <span>dashed border: the node of this moment</span></p>
    <svg id="loss" width="620" height="150" role="img" aria-label="loss by training step"></svg>
    <p class="soft"><kbd>&#8592;</kbd> <kbd>&#8594;</kbd> node by node, <kbd>Home</kbd>
      <kbd>End</kbd> start and end of the pass, <kbd>[</kbd> <kbd>]</kbd> training step,
      <kbd>Tab</kbd> to a node and <kbd>Enter</kbd> to choose it, <kbd>r</kbd> next row,
      <kbd>space</kbd> play.</p>
  </div>
  <section id="detail" aria-live="polite" aria-label="the chosen node"></section>
</main>
<script type="application/json" id="data">%DATA%</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { nodes, edges } = data;
const loss = nodes.findIndex((node) => node.role === "output");
const byId = (id) => document.getElementById(id);
const backwardOrder = nodes.map((_, i) => i).reverse()
  .filter((i) => data.steps[0].gradients[i] !== null);
const last = nodes.length + backwardOrder.length;
const state = { step: 0, at: last, node: loss, row: 0, edits: {} };

// ---- the operations, for edited numbers: arrays are {s: shape, d: elements in C order}

const count = (shape) => shape.reduce((a, b) => a * b, 1);
const scalar = (number) => ({ s: [], d: [number] });
const map = (f, a) => ({ s: a.s, d: a.d.map(f) });

function strides(shape, rank) {
  const out = new Array(rank).fill(0);
  let step = 1;
  for (let k = shape.length - 1; k >= 0; k--) {
    if (shape[k] !== 1) out[rank - shape.length + k] = step;
    step *= shape[k];
  }
  return out;
}

// Calls visit(position in out, in a, in b) for every element of a and b broadcast together.
function together(shape, a, b, visit) {
  const sa = strides(a, shape.length), sb = strides(b, shape.length);
  const at = new Array(shape.length).fill(0);
  for (let k = 0, n = count(shape), ia = 0, ib = 0; k < n; k++) {
    visit(k, ia, ib);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at[axis]++; ia += sa[axis]; ib += sb[axis];
      if (at[axis] < shape[axis]) break;
      ia -= sa[axis] * at[axis]; ib -= sb[axis] * at[axis]; at[axis] = 0;
    }
  }
}

function map2(f, a, b) {
  const rank = Math.max(a.s.length, b.s.length), shape = [];
  for (let k = 0; k < rank; k++) {
    const x = a.s[a.s.length - rank + k] ?? 1, y = b.s[b.s.length - rank + k] ?? 1;
    shape.push(x === 1 ? y : x);
  }
  const d = new Array(count(shape));
  together(shape, a.s, b.s, (k, i, j) => { d[k] = f(a.d[i], b.d[j]); });
  return { s: shape, d };
}

function sumTo(g, shape) {
  const d = new Array(count(shape)).fill(0);
  together(g.s, g.s, shape, (k, i, j) => { d[j] += g.d[i]; });
  return { s: shape, d };
}

const add = (a, b) => map2((x, y) => x + y, a, b);
const multiply = (a, b) => map2((x, y) => x * y, a, b);
const total = (a) => a.d.reduce((x, y) => x + y, 0);
const unary = (f, slope) => ({
  forward: (x) => map(f, x), backward: (g, x) => [multiply(g, map(slope, x))],
});
const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

// (…, in) by (in, out): as matrices, with rows and columns said by the last axes.
function matmul(x, W) {
  const n = W.s[0], m = W.s[1] ?? 1, rows = x.d.length / n, d = new Array(rows * m).fill(0);
  for (let r = 0; r < rows; r++) for (let k = 0; k < n; k++) for (let c = 0; c < m; c++)
    d[r * m + c] += x.d[r * n + k] * W.d[k * m + c];
  return { s: [...x.s.slice(0, -1), ...W.s.slice(1)], d };
}

function matmulBackward(g, x, W) {
  const n = W.s[0], m = W.s[1] ?? 1, rows = x.d.length / n;
  const toX = new Array(x.d.length).fill(0), toW = new Array(W.d.length).fill(0);
  for (let r = 0; r < rows; r++) for (let k = 0; k < n; k++) for (let c = 0; c < m; c++) {
    toX[r * n + k] += g.d[r * m + c] * W.d[k * m + c];
    toW[k * m + c] += g.d[r * m + c] * x.d[r * n + k];
  }
  return [{ s: x.s, d: toX }, { s: W.s, d: toW }];
}

const lossOf = (f, slope) => ({
  forward: (y, p) => { const e = map2((a, b) => b - a, y, p);
    return scalar(total(map(f, e)) / e.d.length); },
  backward: (g, y, p) => { const e = map2((a, b) => b - a, y, p);
    const to = map((x) => g.d[0] * slope(x) / e.d.length, e);
    return [sumTo(map((x) => -x, to), y.s), sumTo(to, p.s)]; },
});
const reduction = (scale) => ({
  forward: (x) => scalar(total(x) * scale(x)),
  backward: (g, x) => [map(() => g.d[0] * scale(x), x)],
});

const operations = {
  Add: { forward: add, backward: (g, a, b) => [sumTo(g, a.s), sumTo(g, b.s)] },
  Subtract: { forward: (a, b) => map2((x, y) => x - y, a, b),
    backward: (g, a, b) => [sumTo(g, a.s), sumTo(map((x) => -x, g), b.s)] },
  Multiply: { forward: multiply,
    backward: (g, a, b) => [sumTo(multiply(g, b), a.s), sumTo(multiply(g, a), b.s)] },
  Divide: { forward: (a, b) => map2((x, y) => x / y, a, b),
    backward: (g, a, b) => [sumTo(map2((x, y) => x / y, g, b), a.s),
      sumTo(multiply(g, map2((x, y) => -x / (y * y), a, b)), b.s)] },
  Negate: unary((x) => -x, () => -1),
  Abs: unary(Math.abs, Math.sign),
  Exp: unary(Math.exp, Math.exp),
  Log: unary(Math.log, (x) => 1 / x),
  Sqrt: unary(Math.sqrt, (x) => 1 / (2 * Math.sqrt(x))),
  Sigmoid: unary(sigmoid, (x) => sigmoid(x) * (1 - sigmoid(x))),
  Tanh: unary(Math.tanh, (x) => 1 - Math.tanh(x) ** 2),
  ReLU: unary((x) => Math.max(x, 0), (x) => (x > 0 ? 1 : 0)),
  Linear: {
    forward: (x, W, b) => { const product = W.s.length ? matmul(x, W) : multiply(W, x);
      return b ? add(product, b) : product; },
    backward: (g, x, W, b) => { const parts = W.s.length ? matmulBackward(g, x, W)
      : [multiply(g, W), scalar(total(multiply(g, x)))];
      return b ? [...parts, sumTo(g, b.s)] : parts; },
  },
  MSE: lossOf((e) => e * e, (e) => 2 * e),
  MAE: lossOf(Math.abs, Math.sign),
  Sum: reduction(() => 1),
  Mean: reduction((x) => 1 / x.d.length),
};

// The same record as Python wrote, computed here from the step's parameters and the edits.
function computed(step) {
  const value = nodes.map((node, i) => {
    const from = node.role === "parameter" ? step.values[i] : data.live[i];
    return from ? { s: from.s, d: from.d.slice() } : null;
  });
  for (const [i, changes] of Object.entries(state.edits))
    for (const [k, number] of Object.entries(changes)) value[i].d[k] = number;
  const args = (j) => nodes[j].inputs.map((i) => value[i]);
  nodes.forEach((node, j) => {
    if (!value[j]) value[j] = operations[node.kind].forward(...args(j));
  });
  const gradient = nodes.map(() => null);
  gradient[loss] = scalar(1);
  const parts = edges.map(() => null);
  const handed = (j, g) => {
    const found = {};
    operations[nodes[j].kind].backward(g, ...args(j)).forEach((part, k) => {
      const i = nodes[j].inputs[k];
      found[i] = found[i] ? add(found[i], part) : part;
    });
    return found;
  };
  for (let j = nodes.length - 1; j >= 0; j--) {
    if (!gradient[j] || !nodes[j].inputs.length) continue;
    for (const [i, part] of Object.entries(handed(j, gradient[j]))) {
      if (nodes[i].role === "constant") continue;
      gradient[i] = gradient[i] ? add(gradient[i], part) : part;
      parts[edges.findIndex((edge) => edge[0] === +i && edge[1] === j)] = part;
    }
  }
  const locals = edges.map(([i, j], k) => {
    if (!step.locals[k]) return null;
    return step.locals[k].map((_, row) => {
      const seed = map(() => 0, value[j]);
      seed.d[nodes[j].batched ? row : 0] = 1;
      return handed(j, seed)[i].d[nodes[i].batched ? row : 0];
    });
  });
  const cut = (i, array) => array && { s: array.s, n: Math.hypot(...array.d),
    d: nodes[i].batched ? array.d.slice(0, data.shown * count(array.s.slice(1))) : array.d };
  return { values: value.map((array, i) => cut(i, array)),
    gradients: gradient.map((array, i) => cut(i, array)),
    parts: parts.map((array, k) => cut(edges[k][0], array)), locals };
}

// ---- what is shown

const edited = () => Object.keys(state.edits).length > 0;
const current = () => (edited() ? computed(data.steps[state.step]) : data.steps[state.step]);

function short(number) {
  if (typeof number !== "number") return String(number);
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return number.toExponential(3);
  return String(+number.toPrecision(5));
}

// One row of a batched array, all of another.
function pinned(i, array) {
  if (!nodes[i].batched) return array.d;
  const width = count(array.s.slice(1));
  return array.d.slice(state.row * width, (state.row + 1) * width);
}

function inShort(i, array) {
  if (!array) return "";
  const row = pinned(i, array);
  return row.length === 1 ? short(row[0]) : `‖·‖ ${short(array.n)}`;
}

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "path", "text", "circle", "polyline", "line"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const shorten = (text) => (text.length > 15 ? `${text.slice(0, 9)}…${text.slice(-5)}` : text);
const WIDTH = 128, HEIGHT = 62, GAP = 92, ROW = 84;
const centre = (i) => [nodes[i].place[0] * (WIDTH + GAP) + WIDTH / 2 + 6,
  nodes[i].place[1] * ROW + HEIGHT / 2 + 6];

function outline(role) {
  const w = WIDTH, h = HEIGHT;
  if (role === "parameter") // a hexagon
    return `M0,${h / 2} L14,0 L${w - 14},0 L${w},${h / 2} L${w - 14},${h} L14,${h} Z`;
  const r = role === "input" ? 24 : 3, turn = (x, y) => `A${r},${r} 0 0 1 ${x},${y}`;
  const box = `M${r},0 H${w - r} ${turn(w, r)} V${h - r} ${turn(w - r, h)} H${r} ${turn(0, h - r)}`
    + ` V${r} ${turn(r, 0)} Z`;
  return role === "output" ? `${box} M4,4 H${w - 4} V${h - 4} H4 Z` : box;
}

// Where on its side an edge arrives, so that edges and their numbers do not cover each other.
function port(i, j) {
  const from = edges.filter((edge) => edge[1] === j).map((edge) => edge[0])
    .sort((a, b) => centre(a)[1] - centre(b)[1]);
  const apart = Math.min(19, (HEIGHT - 12) / Math.max(1, from.length - 1));
  return (from.indexOf(i) - (from.length - 1) / 2) * apart;
}

function reached() {
  const n = nodes.length;
  const forward = new Set(nodes.map((_, i) => i).slice(0, Math.min(state.at, n)));
  const backward = new Set(backwardOrder.slice(0, Math.max(0, state.at - n)));
  const now = state.at === 0 ? -1 : state.at <= n ? state.at - 1 : backwardOrder[state.at - n - 1];
  return { forward, backward, now };
}

function drawGraph(record) {
  const svg = byId("graph"), focus = document.activeElement?.dataset?.node;
  const { forward, backward, now } = reached();
  const width = Math.max(...nodes.map((_, i) => centre(i)[0])) + WIDTH / 2 + 6;
  const height = Math.max(...nodes.map((_, i) => centre(i)[1])) + HEIGHT / 2 + 6;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.style.minWidth = `${0.72 * width}px`; // smaller could not be read; it scrolls instead
  svg.replaceChildren();
  const labels = [];
  edges.forEach(([i, j], k) => {
    const [x0, y0] = [centre(i)[0] + WIDTH / 2, centre(i)[1]];
    const [x1, y1] = [centre(j)[0] - WIDTH / 2, centre(j)[1] + port(i, j)];
    const middle = (x0 + x1) / 2;
    const chosen = [i, j].includes(state.node) ? " chosen" : "";
    svg.append(element("path", { class: `edge${chosen}`,
      d: `M${x0},${y0} C${middle},${y0} ${middle},${y1} ${x1 - 7},${y1} M${x1 - 9},${y1 - 5}`
        + ` L${x1 - 1},${y1} L${x1 - 9},${y1 + 5}` }));
    if (backward.has(j) && record.locals[k]) {
      labels.push(element("text", { class: "local", "data-edge": `${i}-${j}`,
        x: x1 - 12, y: y1 + 4 }, short(record.locals[k][state.row])));
    }
  });
  svg.append(...labels);
  nodes.forEach((node, i) => {
    const back = backward.has(i), done = forward.has(i);
    const [fill, border, ink] = back ? ["#222", "#000", "#fff"]
      : done ? ["#d55e00", "#7a3600", "#fff"] : ["#cdebdf", "#009e73", "#000"];
    const value = done ? inShort(i, record.values[i]) : "";
    const gradient = back ? `∂ ${inShort(i, record.gradients[i])}` : "";
    const [x, y] = centre(i);
    const said = [node.label, node.kind, done ? `value ${value}` : "waits"];
    if (back) said.push(`gradient ${gradient}`);
    const group = element("g", { class: `node${i === state.node ? " chosen" : ""}`
      + (i === now ? " now" : ""), tabindex: 0, role: "button", "data-node": i,
      "aria-label": said.join(", "),
      transform: `translate(${x - WIDTH / 2},${y - HEIGHT / 2})` },
    element("path", { class: "box", d: outline(node.role), fill, stroke: border,
      "stroke-width": 2, "fill-rule": "nonzero" }),
    element("text", { class: "name", x: WIDTH / 2, y: back ? 20 : done ? 28 : 36, fill: ink },
      shorten(node.label)),
    element("text", { class: "number", x: WIDTH / 2, y: back ? 36 : 45, fill: ink }, value),
    element("text", { class: "number", x: WIDTH / 2, y: 52, fill: ink }, gradient));
    group.addEventListener("click", () => choose(i));
    svg.append(group);
    if (String(i) === focus) group.focus();
  });
}

function table(i, array, what) {
  const row = pinned(i, array), columns = nodes[i].batched ? array.s.slice(1) : array.s;
  const across = columns.length ? columns[columns.length - 1] : 1;
  const body = element("table", { "data-what": what });
  const editable = what === "value" && data.live
    && ["parameter", "input"].includes(nodes[i].role) && row.length <= 64;
  const offset = nodes[i].batched ? state.row * row.length : 0;
  for (let start = 0; start < row.length; start += across) {
    const line = element("tr");
    row.slice(start, start + across).forEach((number, k) => {
      const at = offset + start + k;
      const cell = element("td", { "data-number": number });
      if (editable) {
        const input = element("input", { type: "number", step: "any", class: "edit",
          value: +(+number).toPrecision(7), "aria-label": `${nodes[i].label} ${at}` });
        input.addEventListener("change", () => edit(i, at, input.value));
        cell.append(input);
      } else cell.append(short(number));
      line.append(cell);
    });
    body.append(line);
  }
  const whole = count(columns);
  const parts = [element("div", { class: "scroll" }, body)];
  if (row.length < whole)
    parts.push(element("p", { class: "soft" }, `the first ${row.length} of ${whole} numbers`));
  if (array.d.length > 1) parts.push(element("p", { class: "soft" },
    `norm of ${nodes[i].batched ? "all rows" : "all"}: ${short(array.n)}`));
  return parts;
}

// How a node of more than one number a row hands back its gradient.
function inMatrices(i, j) {
  const { kind, inputs, label } = nodes[j], g = `∂${nodes[loss].label}/∂${label}`;
  if (kind !== "Linear") return "all its numbers together";
  return [`= ${g} · Wᵀ, with W = ${nodes[inputs[1]].label}`,
    `= xᵀ · ${g}, with x = ${nodes[inputs[0]].label}`,
    `= ${g}, summed over the rows`][inputs.indexOf(i)];
}

// The chain rule along one edge, in numbers where there is one number a row.
function chain(k, record) {
  const [i, j] = edges[k], part = record.parts[k];
  const out = nodes[loss].label, from = nodes[i].label, to = nodes[j].label;
  const block = element("div", { class: "chain", "data-chain": `${i}-${j}` });
  if (!part) return null;
  const own = j === loss ? "" : `∂${out}/∂${to} · `;
  block.append(`${own}∂${to}/∂${from}`);
  const local = record.locals[k];
  if (local) {
    const g = pinned(j, record.gradients[j])[0], d = local[state.row];
    const product = g * d;
    block.dataset.product = product;
    block.append(element("br"), j === loss ? "= " : `= ${short(g)} · ${short(d)} = `,
      element("strong", {}, short(product)));
    if (nodes[j].batched && !nodes[i].batched && data.rows > 1)
      block.append(element("br"),
        `this row's share; all ${data.rows} rows add up to ${short(part.d[0])}`);
  } else block.append(element("br"), `${inMatrices(i, j)}; norm of it: `,
    element("strong", {}, short(part.n)));
  return block;
}

function drawDetail(record) {
  const i = state.node, node = nodes[i], detail = byId("detail");
  const row = node.batched ? `, row ${state.row}` : "";
  const focus = document.activeElement?.getAttribute?.("aria-label");
  detail.replaceChildren(element("h2", {}, node.label),
    element("p", { class: "soft" }, `${node.kind}, shape ${node.shape}`));
  if (node.about && node.inputs.length)
    detail.append(element("p", { class: "soft", id: "about" }, node.about));
  detail.append(element("h3", {}, `value${row}`), ...table(i, record.values[i], "value"));
  if (record.gradients[i]) {
    detail.append(element("h3", {}, `gradient ∂${nodes[loss].label}/∂${node.label}${row}`),
      ...table(i, record.gradients[i], "gradient"));
    const came = edges.map((edge, k) => (edge[0] === i ? chain(k, record) : null))
      .filter(Boolean);
    if (came.length) detail.append(element("h3", {}, came.length > 1
      ? `how it came: the sum over ${came.length} nodes it feeds` : "how it came"), ...came);
    const hands = edges.map((edge, k) => (edge[1] === i ? chain(k, record) : null))
      .filter(Boolean);
    if (hands.length) detail.append(element("h3", {}, "what it hands to its inputs"), ...hands);
  }
  if (focus) detail.querySelector(`input[aria-label="${CSS.escape(focus)}"]`)?.focus();
}

function drawLoss(record) {
  const svg = byId("loss"), [w, h, left, foot] = [620, 150, 62, 30];
  const all = data.steps.map((step) => step.values[loss].d[0]);
  const now = record.values[loss].d[0];
  const numbers = [...all, now].filter(Number.isFinite);
  const low = Math.min(...numbers), high = Math.max(...numbers);
  const log = low > 0 && high > 20 * low, scale = log ? Math.log : (x) => x;
  const span = scale(high) - scale(low) || 1;
  const x = (step) => left + (w - left - 12) * step / Math.max(1, all.length - 1);
  const y = (value) => 10 + (h - foot - 18)
    * (1 - (scale(Number.isFinite(value) ? value : high) - scale(low)) / span);
  svg.replaceChildren(
    element("line", { x1: left, x2: w, y1: h - foot, y2: h - foot, stroke: "#888" }),
    element("text", { x: w / 2, y: h - 4, class: "number" },
      `loss by training step${log ? " (logarithmic)" : ""}`),
    element("text", { x: left - 8, y: y(high) + 4, class: "number", style: "text-anchor:end" },
      short(high)),
    element("text", { x: left - 8, y: y(low) + 4, class: "number", style: "text-anchor:end" },
      short(low)),
    element("polyline", { fill: "none", stroke: "#0072b2", "stroke-width": 2,
      points: all.map((value, step) => `${x(step)},${y(value)}`).join(" ") }),
    element("circle", { cx: x(state.step), cy: y(now), r: 6, stroke: "#000", "stroke-width": 1.5,
      fill: edited() ? "#fff" : "#f0e442" }));
}

function draw() {
  const record = current(), n = nodes.length;
  byId("step").value = state.step;
  byId("at").value = state.at;
  byId("row").value = state.row;
  byId("undo").hidden = !edited();
  byId("step-now").textContent = `${state.step} of ${data.steps.length - 1}`;
  const { now } = reached();
  byId("at-now").textContent = state.at === 0 ? "before the pass"
    : `${state.at <= n ? "forward" : "backward"}: ${shorten(nodes[now].label)}`;
  const notes = [`loss ${short(record.values[loss].d[0])}`];
  if (edited()) notes.push("edited: computed in this page");
  else if (data.live) notes.push("choose an input or a parameter to edit its numbers");
  if (data.why) notes.push(data.why);
  if (data.stopped && state.step === data.steps.length - 1) notes.push(data.stopped);
  byId("status").textContent = notes.join(" · ");
  drawGraph(record);
  drawDetail(record);
  drawLoss(record);
}

// ---- what can be done

const clamp = (value, high) => Math.max(0, Math.min(high, value));
function go(changes) {
  Object.assign(state, changes);
  state.step = clamp(state.step, data.steps.length - 1);
  state.at = clamp(state.at, last);
  state.row = clamp(state.row, data.shown - 1);
  draw();
}
const choose = (i) => go({ node: i });
function walk(by) {
  const at = clamp(state.at + by, last);
  state.at = at;
  const { now } = reached();
  go({ node: now < 0 ? state.node : now });
  document.querySelector(".node.now")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}
function edit(i, k, text) {
  const number = Number(text);
  if (text.trim() === "" || !Number.isFinite(number)) return draw();
  state.edits[i] = { ...state.edits[i], [k]: number };
  draw();
}
let timer = null;
function play() {
  clearInterval(timer);
  if (timer !== null) { timer = null; byId("play").textContent = "play"; return; }
  if (state.at === last) state.at = 0;
  byId("play").textContent = "pause";
  timer = setInterval(() => (state.at === last ? play() : walk(1)), 700);
}

byId("title").textContent = data.title;
byId("step").max = data.steps.length - 1;
byId("at").max = last;
for (let row = 0; row < data.shown; row++)
  byId("row").append(element("option", { value: row }, String(row)));
byId("step").addEventListener("input", (event) => go({ step: +event.target.value }));
byId("at").addEventListener("input", (event) => walk(+event.target.value - state.at));
byId("row").addEventListener("change", (event) => go({ row: +event.target.value }));
byId("back").addEventListener("click", () => walk(-1));
byId("forth").addEventListener("click", () => walk(1));
byId("play").addEventListener("click", play);
byId("undo").addEventListener("click", () => go({ edits: {} }));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const tag = event.target.tagName, chosen = event.target.dataset?.node;
  if (["INPUT", "SELECT"].includes(tag)) return;
  const keys = {
    ArrowRight: () => walk(1), ArrowLeft: () => walk(-1),
    Home: () => go({ at: 0 }), End: () => go({ at: last }),
    "]": () => go({ step: state.step + 1 }), "[": () => go({ step: state.step - 1 }),
    r: () => go({ row: (state.row + 1) % data.shown }),
    " ": () => (chosen === undefined ? tag === "BUTTON" || play() : choose(+chosen)),
    Enter: () => chosen !== undefined && choose(+chosen),
  };
  if (!keys[event.key] || (tag === "BUTTON" && [" ", "Enter"].includes(event.key))) return;
  event.preventDefault();
  keys[event.key]();
});
draw();
</script>
</body>
</html>
"""
