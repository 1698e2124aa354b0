// What the network makes of a digit: outputs, neurons with their weights, slopes.

import { $, drawPixels, drawSigned, element, levels, text } from "./dom.js";

const SATURATED = 0.01;

/** A row of upright bars, one a class; `marked` are classes to point out. */
export function bars(box, values, marked = {}, format = text) {
  while (box.children.length > values.length) box.lastChild.remove();
  while (box.children.length < values.length) {
    box.append(element("div", { class: "bar" }, element("span", { class: "number" }),
      element("span", { class: "track" }, element("i")), element("b")));
  }
  values.forEach((value, i) => {
    const [number, track, name] = box.children[i].children;
    number.textContent = value === null ? "–" : format(value);
    track.firstChild.style.height = `${100 * Math.min(1, Math.max(0, value ?? 0))}%`;
    name.textContent = i;
    box.children[i].className = `bar ${marked[i] ?? ""}`;
  });
}

/** The images of neurons' weights, of which one is drawn again where it has changed. */
export class Tiles {
  constructor(box) { this.box = box; }

  /** Draw a picture of shape (neurons, rows, columns). */
  draw(picture) {
    const [n, rows, columns] = picture.shape, numbers = levels(picture);
    while (this.box.children.length > n) this.box.lastChild.remove();
    while (this.box.children.length < n) {
      this.box.append(element("div", { class: "tile" }, element("canvas"),
        element("span", { class: "track" }, element("i")), ...texts()));
    }
    for (let i = 0; i < n; i++) drawSigned(this.box.children[i].firstChild, rows, columns, numbers, i * rows * columns);
  }

  /** Show what each neuron says of the digit, and mark those that are saturated; null forgets it. */
  activations(layer) {
    [...this.box.children].forEach((tile, i) => neuron(tile, layer, i));
  }
}

function neuron(tile, layer, i) {
  const bar = tile.querySelector("i"), [number, mark] = tile.querySelectorAll(".number, .slope");
  const a = layer?.activations[i], slope = layer?.slopes?.[i];
  const flat = slope !== undefined && slope !== null && Math.abs(slope) < SATURATED;
  tile.classList.toggle("saturated", flat);
  bar.style.width = `${100 * Math.min(1, Math.abs(a ?? 0))}%`;
  number.textContent = a === undefined ? "" : a === null ? text(a) : a.toFixed(2).replace("-", "−");
  mark.textContent = !flat ? "" : slope === 0 ? "⚑ 0" : `⚑ ${text(slope)}`;
  tile.title = a === undefined ? `neuron ${i}` : `neuron ${i}: activation ${text(a)}` + (layer.slopes ? `, slope ${text(slope)}` : "");
}

const texts = () => [element("span", { class: "number" }), element("span", { class: "slope" })];

/** Layers without images: a cell for each neuron. */
function cells(layer) {
  const box = element("div", { class: "cells" });
  layer.activations.forEach((_, i) => {
    const cell = element("div", { class: "tile" }, element("span", { class: "track" }, element("i")), ...texts());
    neuron(cell, layer, i);
    box.append(cell);
  });
  return box;
}

const saturated = (layer) => (layer.slopes ?? []).filter((s) => s !== null && Math.abs(s) < SATURATED).length;

/** Show what the server said of a digit. */
export function show(seen, label, tiles, images, shape) {
  drawPixels($("seen"), ...shape, seen.pixels);
  drawSigned($("gradient"), ...shape, levels(seen.gradient));
  $("gradient-text").textContent = `∂C/∂pixels, if it is a ${label ?? seen.answer}`;
  $("gradient").title = `the largest is ${text(seen.gradient.scale, 6)}`;
  const outputs = seen.layers.at(-1), hidden = seen.layers.slice(0, -1);
  bars($("outputs"), outputs.activations, {
    [seen.answer]: "answer", ...(label === null ? {} : { [label]: label === seen.answer ? "answer right" : "wanted" }),
  });
  const truth = label === null ? "" : label === seen.answer ? " Right." : ` But it is a ${label}.`;
  $("verdict").textContent = `a ${seen.answer}?${truth} Cost ${text(seen.cost)}`;
  const drawn = hidden[0] && images && hidden[0].count === images.count ? hidden[0] : null;
  tiles.activations(drawn);
  $("hidden-title").textContent = drawn
    ? `${drawn.name}: ${drawn.count} neurons, ${drawn.function}` + (drawn.count > images.shape[0] ? ` (the first ${images.shape[0]})` : "")
    : "first weights";
  $("layers").replaceChildren(...hidden.filter((layer) => layer !== drawn).flatMap((layer) => [
    element("h3", {}, `${layer.name}: ${layer.count} numbers, ${layer.function}`), cells(layer)]));
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
