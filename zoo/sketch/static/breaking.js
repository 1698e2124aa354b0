// Break it: a rule made wrong in a copy, and the property test that looks for it.

import { ask } from "./api.js";
import { $, element } from "./dom.js";

let rules = null;

/** Fetch the rules, once. */
export async function open() {
  if (rules) return;
  const table = await ask("/rules");
  rules = table.rules;
  $("op").replaceChildren(...Object.keys(rules).map((name) => element("option", {}, name)));
  $("change").replaceChildren(...Object.entries(table.changes).map(([value, words]) => element("option", { value }, words)));
  if (rules.sigmoid) $("op").value = "sigmoid";
  $("op").onchange = places;
  $("place").onchange = $("change").onchange = told;
  $("break").onclick = test;
  places();
}

function places() {
  const of = rules[$("op").value];
  $("place").replaceChildren(...of.map((_, i) => element("option", { value: i }, `of input ${i}, ${"xyz"[i] ?? i}`)));
  told();
}

function told() {
  const rule = rules[$("op").value][$("place").value], at = rule.indexOf(":") + 2;
  const wrong = { sign: ["-(", ")"], twice: ["2 * (", ")"], none: ["", ""] }[$("change").value];
  $("rule").replaceChildren(rule.slice(0, at), element("mark", {}, wrong[0]), rule.slice(at), element("mark", {}, wrong[1]));
  $("found").replaceChildren();
}

async function test() {
  $("break").disabled = true;
  $("found").replaceChildren(element("p", { class: "soft" }, "The property test is looking for a counterexample …"));
  try {
    const found = await ask("/break", { op: $("op").value, place: Number($("place").value), change: $("change").value });
    $("found").replaceChildren(...(found.found ? [
      element("p", { class: "verdict" }, `Found, after ${found.tried} examples and smaller and smaller ones. The smallest counterexample:`),
      element("pre", {}, found.example), element("pre", { class: "soft" }, found.message),
    ] : [element("p", { class: "verdict" }, `Nothing found in ${found.tried} examples: no fault is found.`)]));
  } catch (error) {
    $("found").replaceChildren(element("p", { role: "alert" }, error.message));
  }
  $("break").disabled = false;
}
