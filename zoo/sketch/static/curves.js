// Curves over the steps of training, as SVG.

import { element, percent, text } from "./dom.js";

const NS = "http://www.w3.org/2000/svg", W = 380, H = 92, LEFT = 40, RIGHT = 92, TOP = 8, BOTTOM = 16;

function svg(name, attributes, label) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (label !== undefined) made.textContent = label;
  return made;
}

/** Three or four round numbers between two. */
function ticks(low, high) {
  const rough = (high - low) / 3 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const by = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let x = Math.ceil(low / by) * by; x <= high + by / 1e6; x += by) found.push(x);
  return found;
}

/** Labels at the ends of curves, apart from each other. */
function apart(ends) {
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + 11); });
  const over = (ends.at(-1)?.y ?? 0) - (H - BOTTOM);
  if (over > 0) ends.forEach((end) => { end.y -= over; });
  return ends;
}

/** A picture of curves [{name, class, points: [[x, y], ...], dots}], y over x; `log` for a logarithmic y. */
function plot(title, curves, { log = false, format = text, last = 1 }) {
  const known = curves.map((curve) => ({
    ...curve, points: curve.points.filter(([, y]) => y !== null && y !== undefined && (!log || y > 0)),
  }));
  const all = known.flatMap((curve) => curve.points), scale = log ? Math.log10 : (y) => y;
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
  picture.append(svg("title", {}, title));
  const right = Math.max(1, last, ...all.map(([x]) => x));
  let low = Math.min(...all.map(([, y]) => scale(y))), high = Math.max(...all.map(([, y]) => scale(y)));
  if (!all.length) [low, high] = [0, 1];
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  const x = (v) => LEFT + (W - LEFT - RIGHT) * v / right;
  const y = (v) => H - BOTTOM - (H - TOP - BOTTOM) * (scale(v) - low) / (high - low);
  const marks = log ? ticks(low, high).filter(Number.isInteger).map((v) => 10 ** v) : ticks(low, high);
  for (const value of marks) {
    picture.append(svg("line", { x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value), class: "grid" }));
    const label = log ? `1e${Math.log10(value).toFixed(0)}`.replace("-", "−") : format === percent ? `${Math.round(100 * value)} %` : +value.toPrecision(3);
    picture.append(svg("text", { x: LEFT - 4, y: y(value) + 3.5, class: "tick end" }, label));
  }
  picture.append(svg("text", { x: LEFT, y: H - 3, class: "tick" }, "step 0"));
  picture.append(svg("text", { x: W - RIGHT, y: H - 3, class: "tick end" }, right.toLocaleString("en-US")));
  const ends = [];
  for (const curve of known) {
    const places = curve.points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`);
    if (curve.dots) {
      curve.points.forEach(([a, b]) => picture.append(svg("circle", { cx: x(a), cy: y(b), r: 2.4, class: `dot ${curve.class}` })));
    } else if (places.length) picture.append(svg("polyline", { points: places.join(" "), class: `curve ${curve.class}` }));
    if (places.length) ends.push({ y: y(curve.points.at(-1)[1]), curve, value: curve.points.at(-1)[1] });
  }
  for (const end of apart(ends)) {
    picture.append(svg("text", { x: W - RIGHT + 5, y: end.y + 3.5, class: `label ${end.curve.class}` }, `${end.curve.name} ${format(end.value)}`));
  }
  return element("figure", {}, element("figcaption", {}, title), picture);
}

/** The curves of a training. */
export function curves(state) {
  const { points, records, began, total } = state, last = state.step;
  const at = (record) => (record.epoch - began) * (total || 1);
  const epochs = records.filter((record) => record.epoch > began);
  const over = (name) => epochs.map((record) => [at(record), record[name]]);
  const sample = points.map((p) => [p.step, p.cost]);
  const weights = Object.keys(points[0]?.norms ?? {}).filter((name) => !name.endsWith("bias")).slice(0, 5);
  const short = (name) => name.replace(/^layers\.(\d+)\.weight$/, (_, n) => `layer ${1 + weights.indexOf(name)}`).slice(0, 9);
  return [
    plot("cost C", [
      { name: "now", class: "a", points: sample },
      { name: "epoch", class: "b", points: over("cost"), dots: true },
    ], { last }),
    plot("accuracy", [
      { name: "now", class: "a", points: points.map((p) => [p.step, p.validation]) },
      { name: "train", class: "b", points: over("training"), dots: true },
      { name: "valid.", class: "c", points: over("validation"), dots: true },
      { name: "test", class: "d", points: over("test"), dots: true },
    ], { last, format: percent }),
    plot("norm of the gradient, by layer", weights.map((name, i) => (
      { name: short(name), class: "abcde"[i], points: points.map((p) => [p.step, p.norms[name]]) }
    )), { last, log: true, format: (value) => text(value, value < 0.01 ? 3 : 2) }),
  ];
}
