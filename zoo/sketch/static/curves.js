// Curves over the steps of training, as SVG.

import { $, element, percent, text } from "./dom.js";

const NS = "http://www.w3.org/2000/svg", LEFT = 40, RIGHT = 103, TOP = 8, STEPS = 16;
let W = 370; // that of the page, so that texts are as large everywhere
let HEIGHT = 0, H = 0, BOTTOM = 0; // the last of the charts, which have one axis of steps, is the higher by its numbers

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
  const line = Math.min(11, (H - 11) / (ends.length - 1)); // closer where there are many
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((end, i) => { end.y = Math.max(end.y, i ? ends[i - 1].y + line : 5.5); });
  const over = (ends.at(-1)?.y ?? 0) - (H - 5.5);
  if (over > 0) ends.forEach((end) => { end.y -= over; });
  return ends;
}

const DECADES = 4;

/** Where a logarithmic axis begins and ends: at powers of ten, and at most so many of them below the largest value. */
function decades(values) {
  const positive = values.filter((v) => v > 0);
  if (!positive.length) return [-DECADES, 0];
  const high = Math.ceil(Math.log10(Math.max(...positive))), low = Math.floor(Math.log10(Math.min(...positive)));
  return [Math.min(high - 1, Math.max(low, high - DECADES)), high];
}

const power = (exponent) => `1e${exponent}`.replace("-", "−");

/**
 * A picture of curves [{name, class, points: [[x, y], ...], dots, until}], y over x, to `right`. A curve is labelled
 * with its last value, one that has `until` with its last one up to there. `axis` is [lowest, highest], of which null is
 * found; `log` makes it logarithmic. `empty` says what will appear. The numbers of steps stand below the one that is `numbered`.
 */
function plot(title, curves, { log = false, axis = [null, null], format = text, right = 1, empty = "", numbered = false }) {
  BOTTOM = numbered ? STEPS : 5;
  H = HEIGHT + BOTTOM;
  const known = curves.map((curve) => ({
    ...curve, points: curve.points.filter(([at, y]) => y !== null && y !== undefined && at <= right),
  }));
  const values = known.flatMap((curve) => curve.points.map(([, y]) => y)), scale = log ? Math.log10 : (y) => y;
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
  let [low, high] = log ? decades(values) : [axis[0] ?? Math.min(...values), axis[1] ?? Math.max(...values)];
  if (!values.length && !log) [low, high] = [axis[0] ?? 0, axis[1] ?? 1];
  if (high - low < 1e-9) high = low + 1;
  const x = (v) => LEFT + (W - LEFT - RIGHT) * v / right;
  const y = (v) => H - BOTTOM - (H - TOP - BOTTOM) * Math.min(1, Math.max(0, (scale(v) - low) / (high - low)));
  const marks = log ? ticks(low, high).filter(Number.isInteger).map((v) => 10 ** v) : ticks(low, high);
  for (const value of marks) {
    picture.append(svg("line", { x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value), class: "grid" }));
    const label = log ? power(Math.round(Math.log10(value))) : format === percent ? `${Math.round(100 * value)} %` : +value.toPrecision(3);
    picture.append(svg("text", { x: LEFT - 4, y: y(value) + 3.5, class: "tick end" }, label));
  }
  if (numbered) {
    picture.append(svg("text", { x: LEFT, y: H - 3, class: "tick" }, "step 0"));
    picture.append(svg("text", { x: W - RIGHT, y: H - 3, class: "tick end" }, right.toLocaleString("en-US")));
  }
  const ends = [];
  for (const curve of known) {
    const places = curve.points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`);
    if (curve.dots) {
      curve.points.forEach(([a, b]) => picture.append(svg("circle", { cx: x(a), cy: y(b), r: 2.4, class: `dot ${curve.class}` })));
    } else if (places.length === 1) picture.append(svg("circle", { cx: x(curve.points[0][0]), cy: y(curve.points[0][1]), r: 2.4, class: `dot ${curve.class}` }));
    else if (places.length) picture.append(svg("polyline", { points: places.join(" "), class: `curve ${curve.class}` }));
    const last = curve.points.findLast(([at]) => at <= (curve.until ?? right));
    if (last) ends.push({ y: y(last[1]), curve, value: last[1] });
  }
  for (const end of apart(ends)) {
    picture.append(svg("text", { x: W - RIGHT + 5, y: end.y + 3.5, class: `label ${end.curve.class}` }, `${end.curve.name} ${format(end.value)}`));
  }
  picture.prepend(svg("title", {}, [title, ...ends.map((end) => `${end.curve.name} ${format(end.value)}`)].join(", ")));
  if (empty) {
    picture.append(svg("text", { x: (LEFT + W - RIGHT) / 2, y: (H - BOTTOM + TOP) / 2 + 4, class: "tick empty" }, empty));
  }
  const below = log && values.some((v) => v < 10 ** low) ? `; edge: ≤ ${power(low)}` : "";
  return element("figure", {}, element("figcaption", {}, title + below), picture);
}

/** The curves of a training; those of the former one are behind, for an epoch more than there is of the present one. */
export function curves(state) {
  const { points, records, began, total, former } = state, last = state.step, { velocity } = points.at(-1);
  W = Math.max(260, $("plots").clientWidth || 370);
  const until = (words) => (last || former ? "" : W < 340 ? words : `start, and see ${words}`); // what there will be to see
  HEIGHT = innerHeight < 760 ? 46 : innerHeight < 850 ? 56 : 76; // all four are seen at 1280 x 720
  const right = Math.max(1, last, Math.min(former?.points.at(-1).step ?? 0, last + (total || 1)));
  const before = (of) => (former ? [{ name: "before", class: "before", points: former.points.map((p) => [p.step, of(p)]), until: last }] : []);
  const at = (record) => (record.epoch - began) * (total || 1);
  const epochs = records.filter((record) => record.epoch > began);
  const over = (name) => epochs.map((record) => [at(record), record[name]]);
  const now = (of) => points.map((p) => [p.step, of(p)]);
  const weights = Object.keys(points[0]?.gradients ?? {}).filter((name) => !name.endsWith("bias")).slice(0, 5);
  const short = (name) => name.replace(/^layers\.(\d+)\.weight$/, (_, n) => `layer ${1 + weights.indexOf(name)}`).slice(0, 9);
  const layers = Object.keys(points[0]?.saturated ?? {}).slice(-5);
  return [
    plot("cost C", [
      ...before((p) => p.cost),
      { name: "now", class: "a", points: now((p) => p.cost) },
      { name: "epoch", class: "b", points: over("cost"), dots: true },
    ], { right, axis: [0, null], empty: until("how wrong it is") }),
    plot("accuracy", [
      ...before((p) => p.validation),
      { name: "now", class: "a", points: now((p) => p.validation) },
      { name: "train", class: "b", points: over("training"), dots: true },
      { name: "valid.", class: "c", points: over("validation"), dots: true },
      { name: "test", class: "d", points: over("test"), dots: true },
    ], { right, axis: [0, 1], format: percent, empty: until("what it recognizes") }),
    ...(layers.length ? [plot("saturated neurons, slope below 0.01", layers.map((name, i) => (
      { name: name.replace("hidden layer", "hidden"), class: "abcde"[i], points: now((p) => p.saturated[name]) }
    )), { right, axis: [0, 1], format: percent, empty: until("how many hardly learn") })] : []),
    plot(`size (RMS) of the gradient by layer${velocity === null ? "" : `; velocity: ${text(velocity, 1)} of it`}`, weights.map((name, i) => (
      { name: short(name), class: "abcde"[i], points: now((p) => p.gradients[name]) }
    )), { right, numbered: true, log: true, format: (value) => (value ? text(value, value < 0.01 ? 3 : 2) : "0"), empty: until("what layers are to change") }),
  ];
}
