// The graph: nodes, arrows and frames as Python has placed them.

import { number, short } from "./arrays.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 124, HEIGHT = 50, BAR = 62; // as in layout.py

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const SMALLEST = 0.75; // a drawing that would be scaled to less is scrolled

/** A head for arrows of a kind, at their end; at their beginning, for what flows against them. */
function head(name) {
  return svg("marker", { id: `head-${name}`, class: `head ${name}`, viewBox: "0 0 8 8", refX: 6.5, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" }, svg("path", { d: "M0 0L8 4L0 8z" }));
}

const cut = (text, most) => (text.length > most ? `…${text.slice(1 - most)}` : text); // of a name the end tells more
const begin = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** Draw a graph into a container; `go(item)` is called for a node that is chosen. Returns a function that shows a state. */
export function draw(container, graph, items, go) {
  const root = svg("svg", { width: graph.width, height: graph.height, viewBox: `0 0 ${graph.width} ${graph.height}`, role: "group" });
  root.append(svg("defs", {}, ...["plain", "now", "flow"].map(head)));
  for (const [x, y, width, height] of graph.frames) {
    root.append(svg("rect", { class: "frame", x, y, width, height, rx: 10 }));
  }
  const arrows = graph.arrows.map(([source, target, position, d]) => {
    const line = svg("path", { class: "arrow", d });
    root.append(line);
    return { source, target, position, line };
  });
  for (const [x, y, width, , name] of graph.frames) { // after the arrows, which may pass there; at the end where few do
    root.append(svg("text", { class: "frame-name", x: x + width - 7, y: y - 3 }, begin(name, Math.max(8, Math.floor(width / 6)))));
  }
  const nodes = graph.nodes.map((node) => {
    const made = nodeOf(node, items);
    root.append(made.element);
    if (node.items.length) {
      made.element.addEventListener("click", () => go(made.main));
      made.element.addEventListener("keydown", (event) => {
        if (event.key === "Enter") go(made.main);
      });
    }
    return made;
  });
  container.append(root);
  const fit = () => {
    const { clientWidth, clientHeight } = container;
    const share = Math.min(clientWidth / graph.width, matchMedia("(min-width: 821px)").matches ? clientHeight / graph.height : 1);
    const scale = share >= SMALLEST ? Math.min(1, share) : clientWidth / graph.width >= SMALLEST ? Math.min(1, clientWidth / graph.width) : 1;
    root.setAttribute("width", Math.floor(graph.width * scale));
    root.setAttribute("height", Math.floor(graph.height * scale));
  };
  new ResizeObserver(fit).observe(container);
  fit();
  return (state) => paint(container, graph, nodes, arrows, items, state);
}

function nodeOf(node, items) {
  const { x, y, kind } = node;
  const main = node.items.length ? Math.max(...node.items) : undefined;
  const round = kind === "input" ? 22 : kind === "op" ? 16 : 4;
  const title = node.items.slice(0, 12).map((i) => `${items[i].name}: ${items[i].op || items[i].kind}, ${items[i].shape}`).join("\n");
  const element = svg("g", { class: `node ${kind}`, tabindex: node.items.length ? 0 : undefined, role: "button", "data-items": node.items.join(" "), "aria-label": title || node.sign },
    svg("title", {}, title || node.sign), svg("rect", { class: "body", x, y, width: WIDTH, height: HEIGHT, rx: round }));
  const centre = x + WIDTH / 2;
  let note = node.note;
  if (kind === "constant") {
    element.append(svg("text", { class: "sign", x: centre, y: y + 28 }, begin(node.sign, 16)));
  } else if (kind === "op" || kind === "module") {
    const both = node.name && node.name !== node.sign;
    element.append(svg("text", { class: "sign", x: centre, y: y + 17 }, begin(node.sign, 16)));
    if (both) note = `${cut(node.name, 16)} · ${note}`;
  } else {
    element.append(svg("text", { class: "sign leaf", x: centre, y: y + 17 }, cut(node.name, 18)));
  }
  if (note) element.append(svg("text", { class: "note", x: centre, y: y + 30 }, begin(note, 25)));
  const track = svg("rect", { class: "track", x: x + 10, y: y + HEIGHT - 13, width: BAR, height: 5, rx: 2, visibility: "hidden" });
  const bar = svg("rect", { class: "bar", x: x + 10, y: y + HEIGHT - 13, width: 0, height: 5, rx: 2 });
  const badge = svg("text", { class: "badge", x: x + WIDTH - 8, y: y + HEIGHT - 7 });
  const caption = element.querySelector(".note");
  element.append(track, bar, badge);
  return { element, main, track, bar, badge, caption, ...node, note };
}

/** Where a size stands between the smallest and the largest, on a logarithmic scale, from 0 to 1. */
export function scaled(size, sizes) {
  const logs = sizes.filter((n) => n > 0 && Number.isFinite(n)).map(Math.log10);
  if (!(size > 0) || !logs.length) return 0;
  const top = Math.max(...logs), bottom = Math.min(...logs, top - 3);
  return Math.max(0.03, Math.min(1, (Math.log10(size) - bottom) / (top - bottom)));
}

function paint(container, graph, nodes, arrows, items, state) {
  const { computed, gradients, updated, step, arrays } = state;
  const sizes = items.filter((item) => item.rms !== undefined).map((item) => number(item.rms));
  const parts = new Set((step.items || []).map((i) => items[i].node));
  const at = step.item === undefined || step.item === null ? undefined : items[step.item].node;
  nodes.forEach((node, i) => {
    const { element, main } = node;
    const later = main !== undefined && !computed.has(main);
    element.classList.toggle("later", later);
    element.classList.toggle("now", i === at);
    element.classList.toggle("part", i !== at && parts.has(i));
    const gradient = gradients.get(main);
    node.track.setAttribute("visibility", gradient ? "visible" : "hidden");
    const size = gradient ? number(arrays[gradient.array].rms) : 0;
    node.bar.setAttribute("width", gradient ? BAR * scaled(size, sizes) : 0);
    node.badge.textContent = !gradient ? "" : gradient.part < gradient.uses ? `${gradient.part} of ${gradient.uses}` : short(arrays[gradient.array].rms, 2);
    const saturated = main === undefined ? undefined : items[main].saturated;
    const marked = !later && saturated > 0 && node.items.length === 1;
    if (node.caption) {
      node.caption.textContent = updated.has(main) ? `${begin(node.note, 14)} updated ✓`
        : marked ? `${begin(items[main].name, 6)} · ${saturated} saturated` : begin(node.note, 25);
    }
    element.classList.toggle("updated", updated.has(main));
    element.classList.toggle("saturated", marked);
  });
  const unfolded = (i) => graph.nodes[i].items.length === 1;
  for (const { source, target, position, line } of arrows) {
    const [from, to, place] = step.flow || [];
    const flows = step.flow && items[to].node === source && items[from].node === target && (position === place || !unfolded(target));
    const passed = gradients.has(nodes[source].main) && gradients.has(nodes[target].main) && state.passed.has(`${source} ${target} ${unfolded(target) ? position : ""}`);
    const feeds = step.phase === "forward" && target === at;
    const late = nodes[target].main !== undefined && !computed.has(nodes[target].main);
    line.setAttribute("marker-end", flows || passed ? "" : `url(#head-${feeds ? "now" : "plain"})`);
    line.setAttribute("marker-start", flows || passed ? "url(#head-flow)" : "");
    line.setAttribute("class", `arrow${flows ? " flow" : feeds ? " now" : passed ? " passed" : late ? " later" : ""}`);
  }
  const focus = step.flow ? items[step.flow[1]].node : at !== undefined ? at : [...parts][0];
  if (focus !== undefined) follow(container, nodes[focus], nodes[at === undefined ? focus : at]);
}

/** Bring nodes into view, inside of their container alone. */
function follow(container, ...nodes) {
  const room = 26;
  const drawn = container.firstElementChild.getBoundingClientRect();
  const scale = drawn.width / container.firstElementChild.viewBox.baseVal.width;
  const shift = Math.max(0, (container.clientWidth - drawn.width) / 2);
  const top = scale * Math.min(...nodes.map((n) => n.y)) - room, bottom = scale * (Math.max(...nodes.map((n) => n.y)) + HEIGHT) + room;
  const left = shift + scale * Math.min(...nodes.map((n) => n.x)) - room, right = shift + scale * (Math.max(...nodes.map((n) => n.x)) + WIDTH) + room;
  if (top < container.scrollTop || bottom > container.scrollTop + container.clientHeight) {
    container.scrollTop = (top + bottom - container.clientHeight) / 2;
  }
  if (left < container.scrollLeft || right > container.scrollLeft + container.clientWidth) {
    container.scrollLeft = (left + right - container.clientWidth) / 2;
  }
}
