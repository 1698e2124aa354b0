// Elements, numbers as text, arrays as images. Texts are set as texts: nothing that comes from elsewhere becomes markup.

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children: texts, or elements. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A number with some digits after the point; of very small ones the power of ten. */
export function text(x, digits = 3) {
  if (x === null || x === undefined) return "not finite";
  if (x !== 0 && Math.abs(x) < 0.5 * 10 ** -digits) return x.toExponential(0).replaceAll("-", "−");
  return x.toFixed(digits).replace("-", "−");
}

/** A number with its sign. */
export const signed = (x, digits = 4) => (x > 0 ? "+" : "") + text(x, digits);

export const percent = (x) => (x === null || x === undefined ? "none" : `${(100 * x).toFixed(1)} %`);
export const whole = (n) => n.toLocaleString("en-US");

/** The whole numbers from -127 to 127 of a picture that the server sent. */
export const levels = (picture) => Int8Array.from(atob(picture.bytes), (c) => c.charCodeAt(0));

function colour(name) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(value.slice(i, i + 2), 16));
}

let palette = null;
/** The colours of images, which depend on dark or light. */
function colours() {
  palette ??= { zero: colour("--zero"), plus: colour("--plus"), minus: colour("--minus"), paper: colour("--sheet"), ink: colour("--pen") };
  return palette;
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { palette = null; });

function fill(canvas, rows, columns, share) {
  if (canvas.width !== columns || canvas.height !== rows) { canvas.width = columns; canvas.height = rows; }
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const [from, to, t] = share(i);
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = from[c] + (to[c] - from[c]) * t;
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** Draw numbers around 0, as whole numbers to 127: above it in one colour, below in another. */
export function drawSigned(canvas, rows, columns, numbers, offset = 0) {
  const { zero, plus, minus } = colours();
  fill(canvas, rows, columns, (i) => {
    const level = numbers[offset + i];
    return [zero, level < 0 ? minus : plus, Math.abs(level) / 127];
  });
}

/** Draw pixels from 0 to 1, as ink on paper. */
export function drawPixels(canvas, rows, columns, pixels) {
  const { paper, ink } = colours();
  fill(canvas, rows, columns, (i) => [paper, ink, Math.min(1, Math.max(0, pixels[i] ?? 0))]);
}
