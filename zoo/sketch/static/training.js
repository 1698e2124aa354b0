// The training: buttons, curves, settings; and one step with a digit of one's own.

import { ask } from "./api.js";
import { curves } from "./curves.js";
import { $, element, percent, signed, text, whole } from "./dom.js";
import { bars } from "./network.js";

/** Ask, and show what goes wrong in a place of the page. */
export async function attempt(work, place = "fault") {
  try { $(place).textContent = ""; return await work(); } catch (error) { $(place).textContent = error.message; return null; }
}

const asText = (address) => new URLSearchParams(address).toString();
let presets = [];

/** Take the settings in the page's address over, if there are any. */
export async function fromAddress() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const { network, ...settings } = given;
  if (network) await attempt(() => ask("/change", { network, settings }), "settings-error");
}

export function connect() {
  for (const how of ["step", "epoch", "restart"]) $(how).onclick = () => attempt(() => ask("/go", { how }));
  $("run").onclick = () => attempt(() => ask("/go", { how: $("run").dataset.how }));
  $("preset").onchange = () => {
    const { network, ...settings } = presets[$("preset").value].settings;
    $("preset").value = "";
    attempt(async () => {
      await ask("/change", { network, settings });
      return ask("/go", { how: "restart" }); // what it shows begins with the first weights, whatever was trained before
    }, "settings-error");
  };
  $("settings").onsubmit = (event) => { event.preventDefault(); document.activeElement?.blur(); };
  addEventListener("hashchange", fromAddress);
}

/** Show the state of the training. */
export function show(state) {
  const running = state.status === "running";
  $("run").textContent = running ? "pause" : "start";
  $("run").dataset.how = running ? "pause" : "run";
  for (const id of ["step", "epoch"]) $(id).disabled = running || Boolean(state.fault);
  $("run").disabled = Boolean(state.fault);
  $("count").textContent = whole(state.data.train);
  const point = state.points.at(-1), epoch = state.epoch + (state.in_epoch ? 1 : 0);
  $("status").textContent = `${state.status} · step ${whole(state.step)} · epoch ${epoch} · η ${state.rate.toPrecision(3).replace(/\.?0+$/, "")}`;
  $("progress").textContent = `${percent(point.validation)} of ${whole(state.data.sample)} validation digits, cost ${text(point.cost)}` +
    (point.saturated === null ? "" : `, ${percent(point.saturated)} of outputs within 0.01 of 0 or 1`);
  if (state.fault) $("fault").textContent = `${state.fault}; start anew`;
  else if ($("fault").textContent.endsWith("; start anew")) $("fault").textContent = "";
  $("plots").replaceChildren(...curves(state));
  const lost = Object.fromEntries(point.recall.map((r, i) => [i, r !== null && r < 0.01 && state.step > 500 ? "wanted" : "answer"]));
  bars($("recall"), point.recall, lost, (x) => `${Math.round(100 * x)}%`);
  form(state);
  presets = state.presets;
  if ($("preset").options.length !== presets.length + 1) {
    $("preset").append(...presets.map((each, i) => element("option", { value: i }, each.text)));
  }
  $("preset").parentElement.hidden = presets.length === 0;
  $("command").textContent = state.command;
  $("command").title = "the same training on the command line, to the same bits";
  const own = state.own_steps ? [`${state.own_steps} step${state.own_steps > 1 ? "s" : ""} of your own`] : [];
  const deviations = [...state.changes, ...own];
  $("deviations").textContent = state.command === "" ? "" : deviations.length
    ? `The command line would come to other weights: ${deviations.join("; ")}.` : "The command line comes to the same bits.";
  const address = `#${asText(state.address)}`;
  if (state.command && location.hash !== address) history.replaceState(null, "", address);
}

/** The settings as a form, made again only where there are others. */
function form(state) {
  const names = state.fields.map((field) => field.name).join();
  const box = $("settings");
  if (box.dataset.names !== names || box.dataset.networks !== state.networks.join()) {
    Object.assign(box.dataset, { names, networks: state.networks.join() });
    const network = state.networks.length ? [field({ name: "network", flag: "network", help: "which of the zoo's networks", choices: state.networks })] : [];
    box.replaceChildren(...network, ...state.fields.map(field));
  }
  const values = { network: state.address.network, ...Object.fromEntries(state.fields.map((f) => [f.name, f.value])) };
  for (const input of box.elements) if (input !== document.activeElement) input.value = values[input.name];
  box.onchange = (event) => {
    const { name, value } = event.target;
    const { network, ...settings } = state.address;
    const given = name === "network" ? {} : state.command ? { ...settings, [name]: value } : { [name]: value };
    attempt(() => ask("/change", { network: name === "network" ? value : network ?? "", settings: given }), "settings-error");
    if (event.target.tagName === "SELECT") event.target.blur();
  };
}

function field({ name, flag, help, choices, at_once: atOnce }) {
  const input = choices.length
    ? element("select", { name }, ...choices.map((choice) => element("option", {}, choice)))
    : element("input", { name, inputmode: "decimal", size: 6 });
  return element("label", { title: help }, element("span", {}, flag.replace(/^--/, ""), atOnce ? element("b", { title: "acts at the next step" }, " ●") : ""), input);
}

/** What a step of one's own changed. */
export function moved(result, label) {
  const { before, after } = result, all = result.parameters.reduce((n, p) => n + p.size, 0);
  const some = result.parameters.reduce((n, p) => n + p.moved, 0);
  const row = (...cells) => element("tr", {}, ...cells.map((cell, i) => element(i ? "td" : "th", {}, cell)));
  $("moved").replaceChildren(
    element("p", {}, `Cost ${text(before.cost, 4)} → ${text(after.cost, 4)}; the output for ${label} ${text(before.layers.at(-1).activations[label])} → ${text(after.layers.at(-1).activations[label])}; it says ${before.answer === after.answer ? "still" : `${before.answer} →`} ${after.answer}. ${whole(some)} of ${whole(all)} weights moved.`),
    element("details", {}, element("summary", {}, "which weights, and by how much"),
      element("table", {}, row("", "‖gradient‖", "‖change‖", "largest"),
        ...result.parameters.map((p) => row(p.name, text(result.norms[p.name], 4), text(p.norm, 4), text(p.largest, 4)))),
      element("table", {}, row("moved most", "was", "is", "by"),
        ...result.most.map((m) => row(`${m.name}[${m.index.join(", ")}]`, text(m.was, 4), text(m.now, 4), signed(m.by))))));
}
