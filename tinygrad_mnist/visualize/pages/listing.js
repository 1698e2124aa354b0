// Code: lines, of which those that belong to the step are marked.

import { make } from "./arrays.js";

/** Lines of code; `owners(i)` are the numbers of the Tensors that line i made. Returns the element and its lines. */
export function listing(texts, owners, first, go) {
  const lines = texts.map((text, i) => {
    const items = owners(i);
    const line = make("div", { "data-items": items.length ? items.join(" ") : undefined }, text || " ");
    if (first !== undefined) {
      line.classList.add("numbered");
      line.dataset.number = String(first + i);
    }
    line.style.setProperty("--indent", `${text.length - text.trimStart().length + 2}ch`); // of what is wrapped
    if (text.trim().startsWith("#")) line.classList.add("comment");
    if (items.length) line.addEventListener("click", () => go(items[items.length - 1]));
    return line;
  });
  return { element: make("div", { class: "listing" }, ...lines), lines };
}

/** Mark lines, and bring the first of them into view inside its scrolling section. */
export function mark(all, chosen, container) {
  for (const line of all) line.classList.remove("now");
  for (const line of chosen) line.classList.add("now");
  if (!chosen.length) return;
  const box = container.getBoundingClientRect();
  const tops = chosen.map((line) => line.getBoundingClientRect());
  const top = Math.min(...tops.map((b) => b.top)) - box.top, bottom = Math.max(...tops.map((b) => b.bottom)) - box.top;
  if (top < 30 || bottom > container.clientHeight) container.scrollTop += top - Math.max(32, (container.clientHeight - (bottom - top)) / 2);
}
