// The notices above the settings: what an operator must know before a change.

import { element, icon } from "./page.js";

function notice(kind, ...children) {
  return element("p", { className: `notice ${kind}` }, icon("warning"), element("span", {}, ...children));
}

function problem({ line, name, message }, shown) {
  const where = line ? ` on line ${line}` : "";
  const wayOut = shown ? ": correct it under File" : "";
  const text = `The file has an error${where}; the gateway cannot start with it${wayOut}.`;
  return notice("bad", `${text} ${name ? `${name}: ` : ""}${message}`);
}

/** Return the notices. `model`: the settings; `waiting`: names that wait for a restart; `lost`: a lost connection. */
export function noticesOf(model, waiting, lost) {
  const found = [];
  if (lost) found.push(notice("bad", lost));
  if (model?.read_only) found.push(notice("warn", `Nothing can be saved here: ${model.read_only}.`));
  else if (model && !model.exists) {
    found.push(notice("", "This file does not exist yet. Saving creates it; the gateway reads it at each start."));
  }
  for (const error of model?.errors ?? []) found.push(problem(error, model.text !== null));
  for (const warning of model?.warnings ?? []) found.push(notice("warn", `${warning.name}: ${warning.message}.`));
  if (waiting.length) {
    const names = element("strong", {}, waiting.join(", "));
    found.push(notice("warn", "Saved, and in effect after a restart of the gateway: ", names, "."));
  }
  return found;
}
