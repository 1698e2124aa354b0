// Arrays as cards: every number with the text that Python wrote for it.

/** An element with attributes and children; texts are never read as HTML. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The number that Python wrote as this text. */
export function number(text) {
  const others = { inf: Infinity, "-inf": -Infinity, nan: NaN, True: 1, False: 0 };
  return text in others ? others[text] : Number(text);
}

/** A number to three digits, for people; to more where rounding would take it to another side of `bound`. */
export function short(text, digits = 3, bound = undefined) {
  const value = number(text);
  if (!Number.isFinite(value) || text === "True" || text === "False") return text;
  if (Number.isInteger(value) && Math.abs(value) < 1e5) return String(value);
  const size = Math.abs(value);
  const shown = size < 1e-3 || size >= 1e5 ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
  return bound !== undefined && digits < 17 && value < bound !== Number(shown) < bound ? short(text, digits + 1, bound) : shown;
}

/** Blue below zero, vermilion above, the paler the nearer to it. */
function tint(value, largest) {
  if (!(largest > 0) || !Number.isFinite(value) || value === 0) return "";
  const share = Math.min(1, Math.abs(value) / largest) * 0.8;
  return `rgb(${value < 0 ? "0 114 178" : "213 94 0"} / ${(0.06 + share).toFixed(3)})`;
}

const FEW = 64; // with more numbers they become cells, of which one is read at a time

function indices(i, shape) {
  const places = [];
  for (const n of [...shape].reverse()) {
    places.unshift(i % n);
    i = Math.floor(i / n);
  }
  return `[${places.join(", ")}]`;
}

function table(texts, columns, largest, label, options) {
  const rows = [];
  for (let start = 0; start < texts.length; start += columns) {
    const cells = texts.slice(start, start + columns).map((text, i) => {
      const cell = make("td", { title: `${label(start + i)} = ${text}`, "data-exact": text }, short(text, 3, options.below));
      cell.style.background = tint(number(text), largest);
      if (options.below !== undefined && number(text) < options.below) cell.classList.add("ringed");
      return cell;
    });
    const head = options.row === undefined ? null : make("th", {}, String(options.row + rows.length));
    rows.push(make("tr", {}, head, ...cells));
  }
  const heads = options.row === undefined ? null : make("tr", {}, make("th"),
    ...Array.from({ length: columns }, (_, i) => make("th", {}, String(options.column + i))));
  return make("div", { class: "scroll" }, make("table", { class: "numbers" }, heads, ...rows));
}

function cells(texts, columns, largest, label, options) {
  const readout = make("div", { class: "readout" }, "point at a number");
  const grid = make("div", { class: "cells" });
  grid.style.gridTemplateColumns = `repeat(${columns}, 11px)`;
  texts.forEach((text, i) => {
    const cell = make("i", { title: `${label(i)} = ${text}`, "data-exact": text });
    cell.style.background = tint(number(text), largest);
    if (options.below !== undefined && number(text) < options.below) cell.classList.add("ringed");
    grid.append(cell);
  });
  const read = (event) => {
    if (event.target.title) readout.textContent = event.target.title;
  };
  grid.addEventListener("pointerover", read);
  grid.addEventListener("pointerdown", read);
  return [make("div", { class: "scroll" }, grid), readout];
}

/** A table of texts and numbers; those are in lists of their own. */
export function sums({ title, heads, rows, foot }) {
  const cell = (one) => (typeof one === "string" ? make("td", { class: "text" }, one) : make("td", { "data-exact": one[0], title: one[0] }, short(one[0], 4)));
  const made = make("table", { class: "numbers" });
  if (heads.length) made.append(make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", {}, text)))));
  made.append(make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell)))));
  if (foot.length) made.append(make("tfoot", {}, make("tr", {}, ...foot.map(cell))));
  return make("article", { class: "array sums" }, make("header", {}, make("span", { class: "name" }, title)), make("div", { class: "scroll" }, made));
}

/** A card for an array: what it is called, its shape and statistics, and its numbers or a picture of them. */
export function card(array, name, options = {}) {
  const size = array.shape.reduce((a, b) => a * b, 1);
  const shape = array.shape.length ? array.shape.join("×") : "scalar";
  const header = make("header", {}, make("span", { class: "name" }, name), make("span", { class: "soft" }, `${shape} ${array.dtype}`));
  const made = make("article", { class: `array ${options.kind || ""}`, "data-items": options.items }, header);
  if (size === 0) return made.append(make("p", { class: "soft" }, "no elements")), made;
  const largest = Math.max(Math.abs(number(array.min)), Math.abs(number(array.max)));
  if (size === 1) {
    made.append(make("div", { class: "single", "data-exact": array.values, title: array.values }, array.values));
    return made;
  }
  const statistics = make("div", { class: "statistics" });
  for (const [what, text] of [["min", array.min], ["max", array.max], ["mean", array.mean], ["RMS", array.rms]]) {
    statistics.append(`${what} `, make("b", { title: text, "data-exact": text }, short(text, 3, options.below)), " ");
  }
  made.append(statistics);
  if (array.values !== undefined) {
    const texts = array.values.split(" ");
    const columns = array.shape.length ? array.shape[array.shape.length - 1] : 1;
    const label = (i) => indices(i, array.shape);
    const shown = { below: options.below };
    if (size <= FEW) made.append(table(texts, columns, largest, label, shown));
    else made.append(...cells(texts, columns, largest, label, shown));
    return made;
  }
  if (array.image) {
    const { png, width, height, note, scale } = array.image;
    const picture = make("img", { src: png, alt: `${name} as a picture`, width: width * Math.max(1, Math.min(8, Math.floor(330 / width))) });
    picture.style.aspectRatio = `${width} / ${height}`;
    made.append(picture, make("div", { class: "soft statistics" }, `${note}; blue −${short(scale)}, vermilion +${short(scale)}`));
  }
  const { row, column, columns, values } = array.part;
  const cut = make("details", {}, make("summary", { class: "soft statistics" }, "the numbers around the largest"),
    table(values.split(" "), columns, largest, (i) => `[${row + Math.floor(i / columns)}, ${column + (i % columns)}]`, { row, column }));
  cut.open = !array.image;
  made.append(cut);
  return made;
}
