// What the network makes of a digit: outputs, neurons with their weights, slopes.

import { $, drawPixels, drawSigned, element, levels, text, whole } from "./dom.js";

const SATURATED = 0.01;

const isFlat = (slope) => slope !== undefined && slope !== null && Math.abs(slope) < SATURATED;
const flag = (slope) => (!isFlat(slope) ? "" : slope === 0 ? "⚑ 0" : `⚑ ${text(slope)}`);

/** A row of upright bars, one a class; `marked` are classes to point out, `slopes` those of neurons, if they have any. */
export function bars(box, values, marked = {}, format = text, slopes = null) {
  while (box.children.length > values.length) box.lastChild.remove();
  while (box.children.length < values.length) {
    box.append(element("div", { class: "bar", role: "img" }, element("span", { class: "number" }),
      element("span", { class: "track" }, element("i")), element("b"), element("span", { class: "slope" })));
  }
  values.forEach((value, i) => {
    const [number, track, name, slope] = box.children[i].children;
    number.textContent = value === null ? "–" : format(value);
    track.firstChild.style.height = `${100 * Math.min(1, Math.max(0, value ?? 0))}%`;
    name.textContent = i;
    slope.textContent = flag(slopes?.[i]).slice(2); // the flag itself is left out where there is no room
    box.children[i].className = `bar ${marked[i] ?? ""}`;
    box.children[i].setAttribute("aria-label", `${i}: ${number.textContent}${isFlat(slopes?.[i]) ? ", saturated" : ""}`);
  });
}

/** The images of neurons' weights. One is chosen by a click, or by Enter after arrow keys: `chosen` is called with it. */
export class Tiles {
  constructor(box, chosen) {
    this.box = box;
    this.picture = null;
    box.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) { this.reach(tile); chosen(this.index(tile)); }
    });
    box.addEventListener("keydown", (event) => {
      const tile = event.target.closest(".tile"), to = { ArrowLeft: tile?.previousSibling, ArrowRight: tile?.nextSibling }[event.key];
      if (event.key === "Enter" || event.key === " ") chosen(this.index(tile));
      else if (to) { this.reach(to); to.focus(); } else return;
      event.preventDefault();
    });
  }

  index(tile) { return [...this.box.children].indexOf(tile); }

  /** The tabulator key reaches one of them, the arrows the others. */
  reach(tile) {
    for (const each of this.box.children) each.tabIndex = each === tile ? 0 : -1;
  }

  /** Draw a picture of shape (neurons, rows, columns). */
  draw(picture) {
    const [n] = picture.shape;
    this.picture = { ...picture, numbers: levels(picture) };
    while (this.box.children.length > n) this.box.lastChild.remove();
    while (this.box.children.length < n) {
      this.box.append(element("div", { class: "tile", role: "button", tabindex: this.box.children.length ? -1 : 0 }, element("canvas"),
        element("span", { class: "track" }, element("i")), ...texts()));
    }
    for (let i = 0; i < n; i++) this.one(i, this.box.children[i].firstChild);
  }

  /** Draw the image of one neuron. */
  one(i, canvas) {
    const [n, rows, columns] = this.picture.shape;
    if (i < n) drawSigned(canvas, rows, columns, this.picture.numbers, i * rows * columns);
  }

  /** Mark the neuron that is shown large; null marks none. */
  mark(i) {
    [...this.box.children].forEach((tile, place) => tile.setAttribute("aria-pressed", place === i));
  }

  /** Show what each neuron says of the digit, and mark those that are saturated; null forgets it. */
  activations(layer) {
    [...this.box.children].forEach((tile, i) => neuron(tile, layer, i));
  }
}

/** Show a hidden neuron: its image, large, and what it says of each digit on average. */
export function showNeuron(tiles, i, { means, digits }) {
  tiles.one(i, $("neuron-image"));
  tiles.mark(i);
  $("neuron").hidden = false;
  $("neuron-bars").hidden = !means;
  $("neuron-text").textContent = `Weights ${i}.`;
  if (!means) return;
  const order = means.map((value, label) => [value, label]).filter(([value]) => value !== null).sort((a, b) => b[0] - a[0]);
  if (!order.length) return; // it is not finite
  const [most, least] = [order[0], order.at(-1)];
  $("neuron-text").textContent = `Neuron ${i} says on average ${text(most[0], 2)} of ${named(most[1])}, ${text(least[0], 2)} of ${named(least[1])}; on ${whole(digits)} digits:`;
  bars($("neuron-bars"), means, { [most[1]]: "answer" }, (x) => text(x, 2));
}

function neuron(tile, layer, i) {
  const bar = tile.querySelector("i"), [number, mark] = tile.querySelectorAll(".number, .slope");
  const a = layer?.activations[i], slope = layer?.slopes?.[i];
  tile.classList.toggle("saturated", isFlat(slope));
  bar.style.width = `${100 * Math.min(1, Math.abs(a ?? 0))}%`;
  number.textContent = a === undefined ? "" : a === null ? text(a) : a.toFixed(2).replace("-", "−");
  mark.textContent = flag(slope);
  const said = a === undefined ? `neuron ${i}` : `neuron ${i}: activation ${text(a)}` + (layer.slopes ? `, slope ${text(slope)}${isFlat(slope) ? ", saturated" : ""}` : "");
  tile.title = said;
  tile.setAttribute("aria-label", said);
}

const texts = () => [element("span", { class: "number" }), element("span", { class: "slope" })];

/** Layers without images: a cell for each neuron. */
function neurons(layer) {
  const box = element("div", { class: "neurons", role: "group", "aria-label": layer.name });
  layer.activations.forEach((_, i) => {
    const cell = element("div", { class: "tile", role: "img" }, element("span", { class: "track" }, element("i")), ...texts());
    neuron(cell, layer, i);
    box.append(cell);
  });
  return box;
}

const saturated = (layer) => (layer.slopes ?? []).filter(isFlat).length;

const article = (digit) => (/^(8|11|18)/.test(digit) ? "an" : "a");
const named = (digit) => `${article(digit)} ${digit}`;

/** What is true of the answer: right or wrong, by how much, and how often it is right with this answer. */
function verdict(seen, label, { precision }) {
  const outputs = seen.layers.at(-1), a = outputs.activations, best = a[seen.answer];
  const [second, next] = a.map((value, i) => [i, value ?? -Infinity]).filter(([i]) => i !== seen.answer).sort((x, y) => y[1] - x[1])[0];
  const share = precision[seen.answer], said = [`${named(seen.answer)}?`];
  if (best === null) return "Its outputs are not finite.";
  const lead = best - next < 1e-6 ? "the first of equal outputs" : `by ${text(best)} to ${text(next)} for ${second}`;
  const chance = share !== null && share < 2 / a.length;
  if (label === null) said.push(`${lead[0].toUpperCase()}${lead.slice(1)}.`);
  else if (label === seen.answer) said.push(`Right${chance ? ", by chance" : ""}: ${lead}.`);
  else {
    const slope = outputs.slopes?.[label];
    said.push(`But it is ${named(label)}, whose output is ${text(a[label])}` + (isFlat(slope)
      ? ` and saturated: of its error a share of σ′ = ${text(slope)} gets through.` : "."));
  }
  if (a.every((value) => value !== null && value < 0.5)) said.push("No output reaches 0.5.");
  if (share !== null) said.push(`When it says ${seen.answer}, it is right in ${Math.round(100 * share)} %.`);
  return [...said, `Cost ${text(seen.cost)}`].join(" ");
}

/** Show what the server said of a digit; `state` is that of the training. */
export function show(seen, label, tiles, state) {
  const images = state.tiles, shape = state.data.shape;
  drawPixels($("seen"), ...shape, seen.pixels);
  drawSigned($("gradient"), ...shape, levels(seen.gradient));
  $("gradient-text").textContent = `∂C/∂pixels, if it is ${named(label ?? seen.answer)}`;
  $("gradient").title = `the largest is ${text(seen.gradient.scale, 6)}`;
  const outputs = seen.layers.at(-1), hidden = seen.layers.slice(0, -1);
  bars($("outputs"), outputs.activations, {
    [seen.answer]: "answer", ...(label === null ? {} : { [label]: label === seen.answer ? "answer right" : "wanted" }),
  }, text, outputs.slopes);
  $("verdict").textContent = verdict(seen, label, state);
  const drawn = hidden[0] && images && hidden[0].count === images.count ? hidden[0] : null;
  tiles.activations(drawn);
  $("hidden-title").textContent = drawn
    ? `${drawn.name}: ${drawn.count} neurons, ${drawn.function}` + (drawn.count > images.shape[0] ? ` (the first ${images.shape[0]})` : "")
    : "first weights";
  $("layers").replaceChildren(...hidden.filter((layer) => layer !== drawn).flatMap((layer) => [
    element("h3", {}, `${layer.name}: ${layer.count} numbers, ${layer.function}`), neurons(layer)]));
  const counted = seen.layers.filter((layer) => layer.slopes);
  $("saturation").textContent = counted.length === 0 ? ""
    : "⚑ Saturated, slope below 0.01: " + counted.map((l) => `${saturated(l)} of ${l.activations.length} ${l.name === "outputs" ? "outputs" : l.name === "hidden layer" ? "hidden neurons" : `in ${l.name}`}`).join(", ") + ".";
}

/** Show nothing: there is no digit. */
export function showNothing(tiles, classes, shape) {
  drawPixels($("seen"), ...shape, []);
  drawSigned($("gradient"), ...shape, new Int8Array(shape[0] * shape[1]));
  bars($("outputs"), Array(classes).fill(null));
  $("gradient-text").textContent = "∂C/∂pixels";
  $("verdict").textContent = "";
  $("saturation").textContent = "Draw a digit, or take a test digit, to see what each neuron says of it.";
  tiles.activations(null);
  for (const cell of $("layers").querySelectorAll(".number, .slope")) cell.textContent = "";
}
