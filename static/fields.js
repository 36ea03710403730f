// One setting of the form: its control, where its value comes from, and what is wrong with what was typed.

import { element, icon, iconButton } from "./page.js";

const WORDS = {
  environment: "has more weight than the file",
  "command line": "has more weight than the file",
};

/** Return a value as a person reads it. */
export function inWords(value) {
  if (value === true) return "on";
  if (value === false) return "off";
  if (value === "" || value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length ? value.join(", ") : "nothing";
  if (typeof value === "object") {
    const entries = Object.entries(value);
    return entries.length ? entries.map(([name, of]) => (typeof of === "object" ? name : `${name}: ${of}`)).join(", ") : "nothing";
  }
  return String(value);
}

/** Return a text whose `words` in backticks are code. */
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

/** A number as it was typed, and any other text as it is, for the gateway to say what is wrong with it. */
const number = (text) => (/^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i.test(text) ? Number(text) : text);

function textControl(id, className, attributes = {}) {
  const node = element("input", { id, className: `input ${className}`, type: "text", autocomplete: "off", spellcheck: false, ...attributes });
  return { node, focus: node, get: () => node.value, set: (value) => { node.value = value ?? ""; } };
}

function areaControl(id, rows, placeholder) {
  const node = element("textarea", { id, className: "textarea", rows, placeholder, spellcheck: false, autocomplete: "off" });
  return { node, focus: node, get: () => node.value, set: (value) => { node.value = value; } };
}

function numbersControl(id, setting, onchange) {
  const rows = element("div", { className: "numbers" });
  const list = `${id}-names`;
  const fill = element("p", { className: "fill", role: "status", hidden: true });
  const add = (name = "", value = "") => {
    const row = element("div", { className: "row" },
      element("input", { className: "input mono", "aria-label": `${setting.name}: name`, value: name, spellcheck: false, autocomplete: "off", list }),
      element("input", { className: "input number", "aria-label": `${setting.name}: number of ${name || "the new one"}`, value: String(value), inputMode: "numeric", autocomplete: "off" }),
      iconButton("trash", `Remove ${name || "this line"}`, () => {
        row.remove();
        onchange();
      }));
    rows.insertBefore(row, more);
    return row;
  };
  const more = element("button", { type: "button", className: "button quiet", id, onclick: () => add().querySelector("input").focus() }, icon("plus"), "Add");
  rows.append(more, element("datalist", { id: list }));
  const node = element("div", { role: "group", "aria-labelledby": `${id}-key`, className: "numbers" }, rows, fill);
  const lines = () => [...rows.querySelectorAll(".row")].map((row) => [...row.querySelectorAll("input")].map((input) => input.value.trim()));
  return {
    node,
    focus: more,
    fill,
    get: () => Object.fromEntries(lines().filter(([name, value]) => name || value).map(([name, value]) => [name, number(value)])),
    set: (value) => {
      rows.querySelectorAll(".row").forEach((row) => row.remove());
      for (const [name, of] of Object.entries(value)) add(name, of);
    },
    names: (known) => rows.querySelector("datalist").replaceChildren(...known.map((name) => element("option", { value: name }))),
  };
}

function switchControl(id) {
  const said = element("span", { className: "soft" });
  const input = element("input", { id, type: "checkbox", className: "switch", role: "switch" });
  const show = () => { said.textContent = input.checked ? "on" : "off"; };
  input.addEventListener("change", show);
  return {
    node: element("label", { className: "switch-label" }, input, said),
    focus: input,
    get: () => input.checked,
    set: (value) => {
      input.checked = value;
      show();
    },
  };
}

function control(setting, id, onchange) {
  const { kind, choices } = setting.type;
  if (kind === "boolean") return switchControl(id);
  if (kind === "choice") {
    const node = element("select", { id, className: "select" }, choices.map((choice) => element("option", { value: choice }, choice)));
    return { node, focus: node, get: () => node.value, set: (value) => { node.value = value; } };
  }
  if (kind === "integer" || kind === "number") {
    const typed = textControl(id, "number short", { inputMode: kind === "integer" ? "numeric" : "decimal" });
    return { ...typed, get: () => number(typed.node.value), set: (value) => typed.set(String(value)) };
  }
  if (kind === "numbers") return numbersControl(id, setting, onchange);
  if (kind === "list") {
    const area = areaControl(id, Math.max(2, setting.value.length + 1), "one a line");
    return { ...area, get: () => area.get().split("\n").map((line) => line.trim()).filter(Boolean), set: (value) => area.set(value.join("\n")) };
  }
  if (kind === "yaml") return areaControl(id, Math.max(2, setting.yaml.split("\n").length), "in YAML");
  const secret = { type: "password", autocomplete: "new-password", placeholder: setting.set ? "set; type another to replace it" : "not set" };
  return textControl(id, "mono", kind === "secret" ? secret : {});
}

export class Field {
  /** `onchange()` is called when something was typed; `readOnly` where nothing can be saved. */
  constructor(setting, { onchange, readOnly }) {
    this.setting = setting;
    this.onchange = () => {
      this.toDefault = false;
      this.touched();
      onchange();
    };
    this.tell = onchange;
    this.toDefault = false;
    this.editable = setting.editable && !readOnly;
    const id = `value-${setting.name.replace(".", "-")}`;
    this.control = control(setting, id, this.onchange);
    this.error = element("p", { className: "error", id: `${id}-error`, hidden: true });
    this.theirs = element("p", { className: "theirs", hidden: true });
    this.meta = element("div", { className: "meta" });
    const words = `${id}-help`;
    const label = setting.type.kind === "numbers" ? "span" : "label";
    this.node = element("div", { className: "setting", id: `setting-${setting.name}` },
      element("div", {},
        element(label, { className: "key", id: `${id}-key`, htmlFor: label === "label" ? id : undefined }, setting.name.split(".").at(-1)),
        element("p", { className: "help", id: words }, prose(setting.help))),
      element("div", { className: "value" }, this.control.node, this.error, this.theirs, this.pending(), this.meta));
    this.control.focus.setAttribute("aria-describedby", `${words} ${this.error.id}`);
    this.control.set(this.initial);
    this.control.node.addEventListener("input", this.onchange);
    if (!this.editable) {
      const inputs = this.control.node.matches("input, select, textarea") ? [this.control.node] : this.control.node.querySelectorAll("input, button");
      for (const input of inputs) input.disabled = true;
    }
    this.touched();
  }

  get initial() {
    if (this.setting.secret) return "";
    return this.setting.type.kind === "yaml" ? this.setting.yaml : this.setting.value;
  }

  get changed() {
    return this.toDefault || (this.editable && JSON.stringify(this.control.get()) !== JSON.stringify(this.initial));
  }

  /** What is to be saved: a value, null for the default. */
  get value() {
    return this.toDefault ? null : this.control.get();
  }

  matches(words) {
    const text = `${this.setting.name} ${this.setting.help}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  pending() {
    const { after_restart: waits, secret, running } = this.setting;
    if (!waits) return null;
    return element("p", { className: "pending" }, secret ? "Another one is in force until the gateway is restarted." : `Until the gateway is restarted it runs with ${inWords(running)}.`);
  }

  touched() {
    const { source, place, applies, secret } = this.setting;
    const changed = this.changed;
    this.node.toggleAttribute("data-changed", changed);
    const from = source === "file" ? place.split("/").at(-1) : source === "environment" ? place : source;
    const parts = [];
    if (changed) {
      parts.push(element("span", {}, this.toDefault ? (secret ? "will be removed" : `will be the default, ${inWords(this.setting.default)}`) : secret ? "will be replaced" : `was ${inWords(this.setting.value)}`),
        this.button("Undo", () => this.undo()));
    } else {
      parts.push(element("span", { className: "source", "data-source": source, title: source === "default" ? "Nobody has set it." : place }, from));
      if (source === "file" && !secret) parts.push(element("span", {}, `default: ${inWords(this.setting.default)}`));
      if (source === "file" && this.editable) parts.push(this.button(secret ? "Remove" : "Use the default", () => this.useDefault()));
    }
    parts.push(element("span", {}, WORDS[source] ?? `applies ${applies}`));
    this.meta.replaceChildren(...parts);
  }

  button(text, onclick) {
    return element("button", { type: "button", className: "link", "aria-label": `${text}: ${this.setting.name}`, onclick }, text);
  }

  undo() {
    this.toDefault = false;
    this.control.set(this.initial);
    this.after();
  }

  useDefault() {
    const { type, secret } = this.setting;
    this.toDefault = true;
    this.control.set(secret ? "" : type.kind === "yaml" ? "" : this.setting.default);
    this.after();
  }

  after() {
    this.touched();
    this.tell();
    this.control.focus.focus();
  }

  /** Say what is wrong with the value; "" for nothing. */
  wrong(message) {
    this.error.textContent = message;
    this.error.hidden = !message;
    this.node.toggleAttribute("data-wrong", Boolean(message));
    const inputs = this.control.focus.matches("button") ? this.control.node.querySelectorAll("input") : [this.control.focus];
    for (const input of inputs) {
      if (message) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  }

  /** Take over what was typed into the field that stood here before somebody else saved. */
  takeOver(before) {
    this.toDefault = before.toDefault;
    this.control.set(before.control.get());
    if (JSON.stringify(before.setting.value) !== JSON.stringify(this.setting.value) && !this.setting.secret) {
      this.theirs.textContent = `Somebody has set it to ${inWords(this.setting.value)} meanwhile.`;
      this.theirs.hidden = false;
    }
    this.touched();
  }
}
