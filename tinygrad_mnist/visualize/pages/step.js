// The page of one training step: what is known at each step, shown in all views at once.

import { card, make, number, short, sums } from "./arrays.js";
import { draw, scaled } from "./graph.js";
import { listing, mark } from "./listing.js";

const data = JSON.parse(document.getElementById("data").textContent);
const { items, arrays, steps } = data;
const element = (id) => document.getElementById(id);
let place = 0, timer = 0;

const NAMES = { given: "given", forward: "forward", clear: "zero_grad", backward: "backward", update: "update", next: "next step" };
const phases = Object.keys(NAMES).filter((phase) => steps.some((step) => step.phase === phase));

// --- what is known after the first n steps ---

function stateAt(n) {
  const state = { computed: new Set(), gradients: new Map(), updated: new Set(), passed: new Set(), step: steps[n], arrays };
  items.forEach((item, i) => {
    if (item.kind !== "op") state.computed.add(i);
  });
  for (const step of steps.slice(0, n + 1)) {
    if (step.phase === "forward") state.computed.add(step.item);
    if (step.phase === "update") state.updated.add(step.item);
    if (step.gradient) {
      const [item, array, part, uses] = step.gradient;
      state.gradients.set(item, { array, part, uses });
    }
    if (step.flow) {
      const [from, to, position] = step.flow;
      const single = data.graph.nodes[items[from].node].items.length === 1;
      state.passed.add(`${items[to].node} ${items[from].node} ${single ? position : ""}`);
    }
  }
  return state;
}

// --- the views ---

const showGraph = draw(element("graph"), data.graph, items, jump);

const sources = element("sources"), program = element("statements");
const owners = new Map(); // "function line" -> the Tensors that it made
items.forEach((item, i) => item.lines.forEach(([f, line]) => {
  const key = `${f} ${line}`;
  owners.set(key, [...(owners.get(key) || []), i]);
}));
const listed = data.sources.map((source, f) => listing(source.lines, (i) => owners.get(`${f} ${source.first + i}`) || [], source.first, jump));
sources.append(make("h3", {}, "The code"));
data.sources.forEach((source, f) => sources.append(make("h4", {}, source.title), listed[f].element));
if (!listed.length) {
  sources.append(make("h4", {}, "What was computed. (Compute it under visualize.trace() to see your own lines here.)"));
  const made = items.map((item, i) => i).filter((i) => items[i].kind === "op");
  const texts = made.map((i) => (steps.find((s) => s.phase === "forward" && s.item === i) || { formula: [items[i].name] }).formula.map((p) => (typeof p === "string" ? p : p[0])).join(""));
  listed.push(listing(texts, (i) => [made[i]], undefined, jump));
  made.forEach((item, i) => (items[item].lines = [[0, i]]));
  data.sources.push({ first: 0 });
  sources.append(listed[0].element);
}
const ofProgram = new Map();
items.forEach((item, i) => Object.values(item.program).flat().forEach((line) => ofProgram.set(line, [...(ofProgram.get(line) || []), i])));
const statements = listing(data.program.lines, (i) => ofProgram.get(i) || [], undefined, jump);
program.append(make("h4", {}, data.program.problem ? `No program: ${data.program.problem}.` : data.program.about), data.program.problem ? "" : statements.element);

/** What the names in these lines stand for. */
function namesIn(lines) {
  const { legend } = data.program;
  const names = lines.map((i) => data.program.lines[i]).filter((line) => !line.trim().startsWith("#")).flatMap((line) => line.match(/[\p{L}_][\p{L}\p{N}_]*/gu) || []);
  return [...new Set(names)].filter((name) => Object.hasOwn(legend, name)).map((name) => [name, legend[name]]);
}

function showLegend(lines, otherwise) {
  const names = namesIn(lines);
  element("legend").replaceChildren(...(names.length ? names.map(([name, words]) => make("div", {}, make("b", {}, name), ` ${words}`)) : otherwise ? [otherwise] : []));
  element("legend").scrollTop = 0;
}

statements.lines.forEach((line, i) => {
  const names = namesIn([i]);
  if (!names.length) return;
  line.title = names.map(([name, words]) => `${name}: ${words}`).join("\n");
  line.addEventListener("pointerenter", () => showLegend([i]));
});
program.addEventListener("pointerleave", () => showLegend(steps[place].lines || [], steps[place].about));

function linesOf(step) {
  const own = step.phase === "forward" ? items[step.item].lines : step.flow ? items[step.flow[0]].lines : [];
  const places = [...own, ...(data.marks[step.phase] || [])];
  return places.map(([f, line]) => listed[f].lines[line - data.sources[f].first]).filter(Boolean);
}

function formulaOf(segments) {
  return (segments || []).map((part) => {
    if (typeof part === "string") return part;
    const [text, item, gradient] = part;
    const made = make("span", { "data-items": item, class: gradient ? "gradient" : undefined }, text);
    made.addEventListener("click", () => jump(item));
    return made;
  });
}

function sizesOf(step) {
  const sizes = step.sizes.map((i) => number(items[i].rms));
  const made = make("div", { class: "sizes" });
  step.sizes.forEach((i, n) => {
    const bar = make("div", { class: "bar" });
    bar.style.width = `${100 * scaled(sizes[n], sizes)}%`;
    const name = make("span", { class: "name", "data-items": i, title: items[i].name }, items[i].name);
    name.addEventListener("click", () => jump(i));
    made.append(name, make("div", { class: "track" }, bar), make("span", { class: "mono", "data-exact": items[i].rms, title: items[i].rms }, short(items[i].rms)));
  });
  return made;
}

function show() {
  const state = stateAt(place), step = steps[place];
  const now = element("now");
  now.className = `panel ${step.phase}`;
  for (const id of ["graph", "sources", "program"]) element(id).className = `panel ${step.phase}`;
  element("headline").textContent = step.title;
  element("formula").replaceChildren(...formulaOf(step.formula));
  element("note").textContent = step.note || "";
  element("why").replaceChildren(...step.why.map((text) => make("li", {}, text)));
  element("waiting").replaceChildren(...(step.waiting && step.waiting.length ? [make("b", {}, "Still to be passed on, the youngest first:"), ...step.waiting.map(([item, part, uses], i) => make("span", { "data-items": item, class: i ? undefined : "first" }, `∂${items[item].name}, ${part < uses ? `${part} of its ${uses} parts so far` : "complete"}`))] : []));
  const cards = step.cards.map((one) => card(arrays[one.array], one.label, {
    kind: one.kind, items: one.item, below: one.kind === "slope" ? data.saturated : undefined,
  }));
  element("tables").replaceChildren(...(step.tables || []).map(sums));
  if (step.sizes) cards.push(sizesOf(step));
  element("cards").replaceChildren(...cards);
  now.scrollTop = 0;
  showGraph(state);
  showLegend(step.lines || [], step.about); // before the lines are brought into view, as it takes of their room
  mark(sources.querySelectorAll(".now"), linesOf(step), sources);
  mark(program.querySelectorAll(".now"), (step.lines || []).map((i) => statements.lines[i]), program);
  element("hint").hidden = place > 0;
  element("place").value = String(place);
  element("place").setAttribute("aria-valuetext", `${place + 1} of ${steps.length}: ${step.title}`);
  element("count").textContent = `${place + 1} of ${steps.length}`;
  element("back").ariaDisabled = element("first").ariaDisabled = place === 0; // what is disabled loses the focus
  element("forth").ariaDisabled = place === steps.length - 1;
  for (const button of element("phases").children) {
    if (button.dataset.phase === step.phase) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  }
  try {
    history.replaceState(null, "", `#${place + 1}`);
  } catch { /* where a page has no address of its own, as in a notebook */ }
}

// --- going ---

function go(n) {
  place = Math.max(0, Math.min(steps.length - 1, n));
  show();
}

/** To a step of this Tensor: of the present phase, if there is one. */
function jump(item) {
  const own = steps.map((step, i) => i).filter((i) => steps[i].item === item || (steps[i].gradient || [])[0] === item);
  const backward = ["backward", "update", "next"].includes(steps[place].phase);
  const better = own.filter((i) => (backward ? (steps[i].gradient || [])[0] === item : steps[i].phase === "forward"));
  stop();
  if (own.length) go((better.length ? better : own)[0]);
}

function stop() {
  clearInterval(timer);
  timer = 0;
  element("play").textContent = "play";
}

function play() {
  if (timer) return stop();
  if (place === steps.length - 1) go(0);
  element("play").textContent = "pause";
  timer = setInterval(() => (place < steps.length - 1 ? go(place + 1) : stop()), 1600);
}

for (const phase of phases) {
  const button = make("button", { class: phase, "data-phase": phase }, NAMES[phase]);
  button.addEventListener("click", () => (stop(), go(steps.findIndex((step) => step.phase === phase))));
  element("phases").append(button);
}
element("title").textContent = data.title;
element("subtitle").textContent = data.subtitle;
element("place").max = String(steps.length - 1);
element("place").addEventListener("input", () => (stop(), go(Number(element("place").value))));
element("first").addEventListener("click", () => (stop(), go(0)));
element("back").addEventListener("click", () => (stop(), go(place - 1)));
element("forth").addEventListener("click", () => (stop(), go(place + 1)));
element("play").addEventListener("click", play);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.id === "place") return;
  const keys = { ArrowRight: () => go(place + 1), ArrowLeft: () => go(place - 1), Home: () => go(0), End: () => go(steps.length - 1) };
  if (event.key in keys) {
    stop();
    keys[event.key]();
    event.preventDefault();
  } else if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.tagName !== "SUMMARY") {
    play();
    event.preventDefault();
  }
});

// --- what is pointed at in one view lights up in all ---

function light(target) {
  for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
  const owner = target instanceof Element ? target.closest("[data-items]") : null;
  if (!owner) return;
  for (const item of owner.dataset.items.split(" ").filter(Boolean)) {
    for (const other of document.querySelectorAll(`[data-items~="${item}"]`)) other.classList.add("lit");
  }
}
addEventListener("pointerover", (event) => light(event.target));
addEventListener("focusin", (event) => light(event.target));

/** To the step that the address names. */
function goToAddress() {
  const asked = Number(location.hash.slice(1));
  go(Number.isInteger(asked) && asked > 0 ? asked - 1 : 0);
}
addEventListener("hashchange", () => (stop(), goToAddress()));
goToAddress();
