// The page: what is drawn, what the network makes of it, and the training, each in a module of its own.

import { SILENT, ask, latest, listen } from "./api.js";
import * as breaking from "./breaking.js";
import { $, element, text } from "./dom.js";
import * as network from "./network.js";
import { Pad } from "./pad.js";
import * as training from "./training.js";

let state = null, example = null, label = null, change = null, kind = null, looked = "";
let neuron = null; // which is shown large
const tiles = new network.Tiles($("tiles"), (i) => { neuron = i === neuron ? null : i; large(); });
const pad = new Pad($("pad"), () => { example = null; tell(""); chosen(); look(); });

const SEVERAL = "There seem to be several digits, of which one was read.";
const tell = (words) => { $("note").textContent = words || "\u00a0"; };
const digit = () => (example === null ? { drawing: pad.bytes(), label } : { example, label });

const steps = ({ step, own_steps: own }) => `${step} + ${own}`;

/** Ask what the network makes of the digit, and show it. */
const look = latest(async () => {
  if (!state || pad.empty) return;
  try {
    const seen = await ask("/look", digit());
    if (pad.empty) return;
    looked = steps(seen);
    network.show(seen, label, tiles, state);
    if (seen.several) tell(SEVERAL);
    else if ([SEVERAL, SILENT].includes($("note").textContent)) tell(""); // of what has changed since
  } catch (error) {
    tell(error.message);
  }
});

function clear() {
  pad.clear();
  if (!state) return;
  example = label = null;
  chosen();
  tell("");
  network.showNothing(tiles, state.data.classes, state.data.shape);
}

/** Show the neuron that was chosen, or none. */
const large = latest(async () => {
  if (neuron === null) { $("neuron").hidden = true; tiles.mark(null); return; }
  try {
    const about = await ask("/neuron", { neuron });
    if (neuron === about.neuron) network.showNeuron(tiles, neuron, about);
  } catch (error) {
    neuron = null;
    large();
    $("fault").textContent = error.message;
  }
});

/** Take a digit of the data in place of a drawing. */
async function take(number) {
  const seen = await training.attempt(() => ask("/look", { example: number, label: null }));
  if (!seen) return;
  example = seen.example;
  label = seen.truth;
  pad.show(seen.pixels, ...state.data.shape);
  chosen();
  tell(`Test digit ${example}, a ${label}.`);
  await look();
}

function chosen() {
  [...$("labels").children].forEach((button, i) => button.setAttribute("aria-pressed", i === label));
  $("learn").disabled = label === null || pad.empty;
  $("learn").textContent = label === null ? "Say what it is: then take one step" : `It is a ${label}: take one step`;
}

async function learn() {
  const result = await training.attempt(() => ask("/learn", digit()));
  if (!result) return;
  change = result.tiles;
  training.moved(result, label);
  select(change ? "change" : kind);
  await look();
}

/** Show the weights, what was learned, or what a step changed; null is what there is to see: once it learns, that. */
function select(which) {
  kind = which;
  const pictures = { learned: state.step || state.own_steps ? state.learned : null, weights: state.tiles, change };
  const chosen = pictures[kind] ? kind : pictures.learned ? "learned" : "weights", shown = pictures[chosen];
  for (const button of $("kinds").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.kind === chosen);
    button.disabled = !pictures[button.dataset.kind];
  }
  $("kinds").hidden = !shown;
  if (!shown) return;
  tiles.draw(shown);
  if (neuron !== null) tiles.one(neuron, $("neuron-image"));
  $("scale").replaceChildren("full colour: ", element("b", { class: "minus" }, `−${text(shown.scale)}`), " ", element("b", { class: "plus" }, `+${text(shown.scale)}`));
}

function show(fresh) {
  const first = !state;
  if (state && (fresh.program !== state.program || fresh.run !== state.run || fresh.step < state.step)) { change = null; $("moved").replaceChildren(); }
  state = fresh;
  select(kind);
  training.show(state);
  if (first) {
    $("labels").replaceChildren(...Array.from({ length: state.data.classes }, (_, i) => {
      const button = element("button", { "aria-pressed": "false" }, String(i));
      button.onclick = () => { label = label === i ? null : i; chosen(); look(); };
      return button;
    }));
    if (pad.empty) {
      clear();
      tell("Mouse, finger, or keys: arrows move the pen, space sets it down.");
    } else look(); // somebody was quicker than the network
  } else if (steps(state) !== looked) { look(); large(); }
  document.body.dataset.step = state.step;
}

function view(which) {
  for (const each of ["network", "breaking"]) {
    $(each).hidden = each !== which;
    $(`show-${each}`).removeAttribute("aria-current");
  }
  $(`show-${which}`).setAttribute("aria-current", "page");
}

$("clear").onclick = clear;
$("example").onclick = () => { if (state) take(example === null ? 0 : (example + 1) % state.data.digits); };
$("wrong").onclick = async () => {
  const found = state && await training.attempt(() => ask("/wrong", { example: example ?? 0 }));
  if (found) take(found.example);
};
$("learn").onclick = learn;
for (const button of $("kinds").querySelectorAll("button")) button.onclick = () => select(button.dataset.kind);
$("show-network").onclick = () => view("network");
$("show-breaking").onclick = () => { view("breaking"); breaking.open().catch((error) => { $("found").textContent = error.message; }); };
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (state) { select(kind); look(); } });
addEventListener("resize", () => { if (state) training.show(state); });
if (location.port !== "8765") $("port").textContent = ` --port ${location.port}`; // which is where it is if none is named
training.connect();
await training.fromAddress(false);
let fresh = null, program = null;

/** Show the state, of several between two frames the last. A program that was started again gets this page's settings. */
async function receive(state) {
  const other = program !== null && state.program !== program;
  program = state.program;
  if (other) {
    const said = "The program was started again: the training begins anew.";
    if (state.run || state.step || state.own_steps) training.tell(said); // by another window, which has chosen settings
    else {
      await training.fromAddress(false, said);
      state = await ask("/state");
    }
  }
  if (!fresh) requestAnimationFrame(() => { const last = fresh; fresh = null; show(last); });
  fresh = state;
}

listen(receive, (away) => {
  $("gone").hidden = !away;
  if (!away && $("fault").textContent === SILENT) $("fault").textContent = "";
  document.body.classList.toggle("away", away);
});
