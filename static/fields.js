// One setting of the form: its control, the origin of its value, and the error of its new value.

import { control } from "./controls.js";
import { element } from "./page.js";

const OVERRIDES = {
  environment: "overrides the file",
  "command line": "overrides the file",
};

/** Return a value in words. */
export function inWords(value) {
  if (value === true) return "on";
  if (value === false) return "off";
  if (value === "" || value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length ? value.join(", ") : "nothing";
  if (typeof value === "object") {
    const entries = Object.entries(value);
    return entries.length
      ? entries.map(([name, of]) => (typeof of === "object" ? name : `${name}: ${of}`)).join(", ")
      : "nothing";
  }
  return String(value);
}

/** Return the nodes of a string; parts in `backticks` are code. */
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

export class Field {
  /** `onchange()` is called after each change of the value. `readOnly`: nothing can be saved. */
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
    this.node = element(
      "div",
      { className: "setting", id: `setting-${setting.name}` },
      element(
        "div",
        {},
        element(
          label,
          { className: "key", id: `${id}-key`, htmlFor: label === "label" ? id : undefined },
          setting.name.split(".").at(-1),
        ),
        element("p", { className: "help", id: words }, prose(setting.help)),
      ),
      element("div", { className: "value" }, this.control.node, this.error, this.theirs, this.pending(), this.meta),
    );
    this.control.focus.setAttribute("aria-describedby", `${words} ${this.error.id}`);
    this.control.set(this.initial);
    this.control.node.addEventListener("input", this.onchange);
    if (!this.editable) {
      const inputs = this.control.node.matches("input, select, textarea")
        ? [this.control.node]
        : this.control.node.querySelectorAll("input, button");
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

  /** The value to save; null for the default. */
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
    return element(
      "p",
      { className: "pending" },
      secret
        ? "The gateway uses another one until it restarts."
        : `The gateway uses ${inWords(running)} until it restarts.`,
    );
  }

  touched() {
    const { source, place, applies, secret } = this.setting;
    const changed = this.changed;
    this.node.toggleAttribute("data-changed", changed);
    const from = source === "file" ? place.split("/").at(-1) : source === "environment" ? place : source;
    const parts = [];
    if (changed) {
      parts.push(
        element(
          "span",
          {},
          this.toDefault
            ? secret
              ? "will be removed"
              : `will be the default, ${inWords(this.setting.default)}`
            : secret
              ? "will be replaced"
              : `was ${inWords(this.setting.value)}`,
        ),
        this.button("Undo", () => this.undo()),
      );
    } else {
      parts.push(
        element(
          "span",
          { className: "source", "data-source": source, title: source === "default" ? "Not set." : place },
          from,
        ),
      );
      if (source === "file" && !secret) parts.push(element("span", {}, `default: ${inWords(this.setting.default)}`));
      if (source === "file" && this.editable)
        parts.push(this.button(secret ? "Remove" : "Use the default", () => this.useDefault()));
    }
    parts.push(element("span", {}, OVERRIDES[source] ?? `applies ${applies}`));
    this.meta.replaceChildren(...parts);
  }

  button(text, onclick) {
    return element(
      "button",
      { type: "button", className: "link", "aria-label": `${text}: ${this.setting.name}`, onclick },
      text,
    );
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

  /** Show an error of the value; "" for none. */
  wrong(message) {
    this.error.textContent = message;
    this.error.hidden = !message;
    this.node.toggleAttribute("data-wrong", Boolean(message));
    const inputs = this.control.focus.matches("button")
      ? this.control.node.querySelectorAll("input")
      : [this.control.focus];
    for (const input of inputs) {
      if (message) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  }

  /** Take over the unsaved value of the field that stood here before another user saved. */
  takeOver(before) {
    this.toDefault = before.toDefault;
    this.control.set(before.control.get());
    if (JSON.stringify(before.setting.value) !== JSON.stringify(this.setting.value) && !this.setting.secret) {
      this.theirs.textContent = `Another user has set it to ${inWords(this.setting.value)} meanwhile.`;
      this.theirs.hidden = false;
    }
    this.touched();
  }
}
