// The page: what is drawn, what the network makes of it, and the training, each in a module of its own.

import { ask, latest, listen } from "./api.js";
import * as breaking from "./breaking.js";
import { $, element, text } from "./dom.js";
import * as network from "./network.js";
import { Pad } from "./pad.js";
import * as training from "./training.js";

let state = null, example = null, label = null, change = null, kind = "weights", looked = -1;
const tiles = new network.Tiles($("tiles"));
const pad = new Pad($("pad"), () => { example = null; tell(""); chosen(); look(); });

const tell = (words) => { $("note").textContent = words || "\u00a0"; };
const digit = () => (example === null ? { drawing: pad.bytes(), label } : { example, label });

/** Ask what the network makes of the digit, and show it. */
const look = latest(async () => {
  if (!state || pad.empty) return;
  try {
    const seen = await ask("/look", digit());
    if (pad.empty) return;
    looked = seen.step;
    network.show(seen, label, tiles, state.tiles, state.data.shape);
    if (seen.several) tell("There seem to be several digits, of which one was read.");
  } catch (error) {
    tell(error.message);
  }
});

function clear() {
  pad.clear();
  example = label = null;
  chosen();
  tell("");
  network.showNothing(tiles, state.data.classes, state.data.shape);
}

/** Take a digit of the data in place of a drawing. */
async function take(number) {
  const seen = await ask("/look", { example: number, label: null });
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

/** Show the weights, or what a step changed. */
function select(which) {
  kind = which;
  for (const button of $("kinds").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.kind === kind);
    button.disabled = button.dataset.kind === "change" && !change;
  }
  const shown = { weights: state.tiles, learned: state.learned, change }[kind];
  $("kinds").hidden = !shown;
  if (!shown) return;
  tiles.draw(shown);
  $("scale").replaceChildren("full colour: ", element("b", { class: "minus" }, `−${text(shown.scale)}`), " ", element("b", { class: "plus" }, `+${text(shown.scale)}`));
}

function show(fresh) {
  const first = !state;
  if (state && fresh.step < state.step) { change = null; kind = "weights"; $("moved").replaceChildren(); }
  state = fresh;
  if (kind !== "change") select(kind);
  training.show(state);
  if (first) {
    $("labels").replaceChildren(...Array.from({ length: state.data.classes }, (_, i) => {
      const button = element("button", { "aria-pressed": "false" }, String(i));
      button.onclick = () => { label = label === i ? null : i; chosen(); look(); };
      return button;
    }));
    clear();
    tell("Mouse, finger, or keys: arrows move the pen, space sets it down.");
  } else if (state.step !== looked) look();
  document.body.dataset.step = state.step;
}

function view(which) {
  for (const each of ["network", "breaking"]) {
    $(each).hidden = each !== which;
    $(`show-${each}`).setAttribute("aria-selected", each === which);
  }
}

$("clear").onclick = clear;
$("example").onclick = () => take(example === null ? 0 : (example + 1) % state.data.digits);
$("wrong").onclick = async () => take((await ask("/wrong", { example: example ?? 0 })).example);
$("learn").onclick = learn;
for (const button of $("kinds").querySelectorAll("button")) button.onclick = () => select(button.dataset.kind);
$("show-network").onclick = () => view("network");
$("show-breaking").onclick = () => { view("breaking"); breaking.open(); };
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (state) { select(kind); look(); } });
training.connect();
await training.fromAddress();
let fresh = null;
listen((state) => { // of several states between two frames the last is shown
  if (!fresh) requestAnimationFrame(() => { const last = fresh; fresh = null; show(last); });
  fresh = state;
}, (away) => { $("gone").hidden = !away; document.body.classList.toggle("away", away); });
