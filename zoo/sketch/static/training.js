// The training: buttons, curves, settings; and one step with a digit of one's own.

import { ask } from "./api.js";
import { curves } from "./curves.js";
import { $, element, signed, text, whole } from "./dom.js";
import { bars } from "./network.js";

/** Ask, and show what goes wrong in a place of the page. */
export async function attempt(work, place = "fault") {
  try { $(place).textContent = ""; return await work(); } catch (error) {
    $(place).textContent = error.message;
    $(place).scrollIntoView({ block: "nearest" });
    return null;
  }
}

const asText = (address) => new URLSearchParams(address).toString();
let presets = [];

/** Say something of the training that is no fault: until a button is pressed. */
export const tell = (...lines) => { $("told").replaceChildren(...lines.map((line) => element("p", {}, line))); };

/** Take the settings in the page's address over, if there are any; `typed` by hand, or written by the page before. */
export async function fromAddress(typed, ...said) {
  const { network = "", ...settings } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (!location.hash.slice(1)) return tell(...said);
  const taken = await attempt(() => ask("/address", { network, settings, typed }), "settings-error");
  tell(...said, ...(taken?.remarks ?? []));
}

export function connect() {
  const go = (how) => { tell(); return attempt(() => ask("/go", { how })); };
  for (const how of ["step", "epoch", "restart"]) $(how).onclick = () => { if ($(how).ariaDisabled !== "true") go(how); };
  $("run").onclick = () => go($("run").dataset.how);
  $("preset").onchange = () => {
    const chosen = presets[$("preset").value];
    if (!chosen) return;
    const { network, ...settings } = chosen.settings; // what it shows begins with the first weights
    tell();
    attempt(() => ask("/change", { network, settings, anew: true }), "settings-error");
  };
  $("settings").onsubmit = (event) => { event.preventDefault(); document.activeElement?.blur(); };
  addEventListener("hashchange", () => fromAddress(true));
}

/** Show the state of the training. */
export function show(state) {
  const running = state.status === "running";
  for (const id of ["status", "verdict"]) $(id).setAttribute("aria-live", running ? "off" : "polite"); // not ten times a second
  $("run").textContent = running ? "pause" : "start";
  $("run").dataset.how = running ? "pause" : "run";
  for (const id of ["step", "epoch"]) $(id).ariaDisabled = running || Boolean(state.fault); // and keeps the focus
  $("run").disabled = Boolean(state.fault);
  $("count").textContent = whole(state.data.train);
  $("sample").textContent = whole(state.data.sample);
  const epoch = state.epoch + (state.in_epoch ? 1 : 0), own = state.own_steps ? ` + ${whole(state.own_steps)} of your own` : "";
  $("status").textContent = `${state.status} · step ${whole(state.step)}${own} · epoch ${epoch} · ${state.rate} ${state.lr.toPrecision(3).replace(/\.?0+$/, "")}`;
  if (state.fault) $("fault").textContent = `${state.fault}; start anew`;
  else if ($("fault").textContent.endsWith("; start anew")) $("fault").textContent = "";
  $("lost").textContent = lost(state.lost, state.step + state.own_steps > 0);
  $("before").replaceChildren(...before(state));
  $("plots").replaceChildren(...curves(state));
  bars($("recall"), state.recall, Object.fromEntries(state.recall.map((_, i) => [i, state.lost.some((each) => each.label === i) ? "wanted" : "answer"])),
    (x) => `${Math.round(100 * x)}%`);
  form(state);
  preset(state);
  $("command").textContent = state.command;
  $("command").title = "the same training on the command line, to the same bits";
  const steps = state.own_steps ? [`${state.own_steps} step${state.own_steps > 1 ? "s" : ""} of your own`] : [];
  const deviations = [...state.changes, ...steps];
  $("deviations").textContent = state.command === "" ? "" : deviations.length
    ? `The command line would come to other weights: ${deviations.join("; ")}.` : "The command line comes to the same bits.";
  const address = `#${asText(state.address)}`;
  if (state.command && location.hash !== address) history.replaceState(null, "", address);
}

/** Show which of the settings worth looking at these are; none, once one was changed. */
function preset(state) {
  const select = $("preset");
  if (!presets.length && state.presets.length) {
    presets = state.presets;
    select.append(element("option", { value: "" }, "settings of your own"), ...presets.map((each, i) => element("option", { value: i }, each.text)));
  }
  select.parentElement.hidden = presets.length === 0;
  const sorted = (settings) => JSON.stringify(Object.entries(settings).sort());
  const which = state.changes.length ? -1 : presets.findIndex((each) => sorted(each.settings) === sorted(state.address));
  select.value = which < 0 ? "" : which;
  $("watch").textContent = which < 0 ? "" : presets[which].watch;
}

const setting = ([key, value]) => (key === "network" ? value : `${key} ${value || "none"}`);

/** In what the training before this one was another. */
function before({ former, settings }) {
  if (!former) return [];
  const other = Object.entries(former.settings).filter(([key, value]) => settings[key] !== value).map(setting);
  return [element("b", { class: "before" }, "before"), `: ${[...(other.length ? other : ["the same settings"]), ...former.changes].join(", ")}`];
}

/** What is said of digits that are never recognized, as their outputs are saturated. */
function lost(all, begun) {
  if (!all.length) return "";
  const labels = all.map((each) => each.label).join(", "), slopes = all.map((each) => each.slope);
  const outputs = all.length === 1 ? `its output is ${text(all[0].output)} on images of it, its slope σ′ ${text(slopes[0])}`
    : `on images of their own their outputs have slopes σ′ from ${text(Math.min(...slopes))} to ${text(Math.max(...slopes))}`;
  return `⚑ ${begun ? "Never recognized" : "Not recognized yet"}, and saturated: ${labels}; ${outputs}. No more of the gradient gets through.`;
}

/** The settings as a form, made again only where there are others. */
function form(state) {
  const names = state.fields.map((field) => field.name).join();
  const box = $("settings");
  if (box.dataset.names !== names || box.dataset.networks !== state.networks.join()) {
    Object.assign(box.dataset, { names, networks: state.networks.join() });
    const network = state.networks.length ? [field({ name: "network", label: "network", help: "which of the zoo's networks", choices: state.networks })] : [];
    box.replaceChildren(...network, ...state.fields.map(field));
  }
  $("settings-now").textContent = Object.entries(state.settings)
    .sort(([one], [other]) => (other.length === 1) - (one.length === 1)) // the book's letters first
    .map(setting).join(", ");
  const values = { network: state.address.network, ...Object.fromEntries(state.fields.map((f) => [f.name, f.value])) };
  for (const input of box.elements) if (input !== document.activeElement) input.value = values[input.name];
  box.onchange = (event) => {
    const { name, value } = event.target;
    const { network, ...settings } = state.address;
    const given = name === "network" ? {} : state.command ? { ...settings, [name]: value } : { [name]: value };
    attempt(() => ask("/change", { network: name === "network" ? value : network ?? "", settings: given }), "settings-error").then((taken) => {
      if (taken) return;
      event.target.value = values[name];
      $("settings-error").textContent += `; ${values[name] || "none"} stays`;
    });
    if (event.target.tagName === "SELECT") event.target.blur();
  };
}

function field({ name, label, help, choices, at_once: atOnce }) {
  const input = choices.length
    ? element("select", { name }, ...choices.map((choice) => element("option", {}, choice)))
    : element("input", { name, inputmode: "decimal", size: 6 });
  return element("label", { title: help }, element("span", {}, label, atOnce ? element("b", { title: "acts at the next step" }, " ●") : ""), input);
}

/** What a step of one's own changed. */
export function moved(result, label) {
  const { before, after } = result, all = result.parameters.reduce((n, p) => n + p.size, 0);
  const some = result.parameters.reduce((n, p) => n + p.moved, 0);
  const row = (...cells) => element("tr", {}, ...cells.map((cell, i) => element(i ? "td" : "th", {}, cell)));
  $("moved").replaceChildren(
    element("p", {}, `Cost ${text(before.cost, 4)} → ${text(after.cost, 4)}; the output for ${label} ${text(before.layers.at(-1).activations[label])} → ${text(after.layers.at(-1).activations[label])}; it ${before.answer === after.answer ? "still says" : `says ${before.answer} →`} ${after.answer}. ${whole(some)} of ${whole(all)} weights moved.${result.kept.length ? ` Not by this digit alone: the optimizer keeps ${result.kept.join(" and ")} from the steps before, which acts on.` : ""}`),
    element("details", {}, element("summary", {}, "which weights, and by how much"),
      element("table", {}, row("", "gradient, RMS", "change, RMS", "largest"),
        ...result.parameters.map((p) => row(p.name, text(result.gradients[p.name], 4), text(p.rms, 4), text(p.largest, 4)))),
      element("table", {}, row("moved most", "was", "is", "by"),
        ...result.most.map((m) => row(`${m.name}[${m.index.join(", ")}]`, text(m.was, 4), text(m.now, 4), signed(m.by))))));
}
