// The controls of the form of settings: one for each type of setting.

import { element, icon, iconButton } from "./page.js";

/** Return the number that was typed; any other text as it is, so that the gateway can name the error. */
const number = (text) => (/^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i.test(text) ? Number(text) : text);

function textControl(id, className, attributes = {}) {
  const node = element("input", {
    id,
    className: `input ${className}`,
    type: "text",
    autocomplete: "off",
    spellcheck: false,
    ...attributes,
  });
  return {
    node,
    focus: node,
    get: () => node.value,
    set: (value) => {
      node.value = value ?? "";
    },
  };
}

function areaControl(id, rows, placeholder) {
  const node = element("textarea", {
    id,
    className: "textarea",
    rows,
    placeholder,
    spellcheck: false,
    autocomplete: "off",
  });
  return {
    node,
    focus: node,
    get: () => node.value,
    set: (value) => {
      node.value = value;
    },
  };
}

function numbersControl(id, setting, onchange) {
  const rows = element("div", { className: "numbers" });
  const list = `${id}-names`;
  const fill = element("p", { className: "fill", role: "status", hidden: true });
  const add = (name = "", value = "") => {
    const row = element(
      "div",
      { className: "row" },
      element("input", {
        className: "input mono",
        "aria-label": `${setting.name}: name`,
        value: name,
        spellcheck: false,
        autocomplete: "off",
        list,
      }),
      element("input", {
        className: "input number",
        "aria-label": `${setting.name}: number of ${name || "the new one"}`,
        value: String(value),
        inputMode: "numeric",
        autocomplete: "off",
      }),
      iconButton("trash", `Remove ${name || "this line"}`, () => {
        row.remove();
        onchange();
      }),
    );
    rows.insertBefore(row, more);
    return row;
  };
  const more = element(
    "button",
    { type: "button", className: "button quiet", id, onclick: () => add().querySelector("input").focus() },
    icon("plus"),
    "Add",
  );
  rows.append(more, element("datalist", { id: list }));
  const node = element("div", { role: "group", "aria-labelledby": `${id}-key`, className: "numbers" }, rows, fill);
  const lines = () =>
    [...rows.querySelectorAll(".row")].map((row) =>
      [...row.querySelectorAll("input")].map((input) => input.value.trim()),
    );
  return {
    node,
    focus: more,
    fill,
    get: () =>
      Object.fromEntries(
        lines()
          .filter(([name, value]) => name || value)
          .map(([name, value]) => [name, number(value)]),
      ),
    set: (value) => {
      for (const row of rows.querySelectorAll(".row")) row.remove();
      for (const [name, of] of Object.entries(value)) add(name, of);
    },
    names: (known) =>
      rows.querySelector("datalist").replaceChildren(...known.map((name) => element("option", { value: name }))),
  };
}

function switchControl(id) {
  const said = element("span", { className: "soft" });
  const input = element("input", { id, type: "checkbox", className: "switch", role: "switch" });
  const show = () => {
    said.textContent = input.checked ? "on" : "off";
  };
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

/** Return the control for a setting's type: its `node`, the node to `focus`, `get()` and `set(value)`. */
export function control(setting, id, onchange) {
  const { kind, choices } = setting.type;
  if (kind === "boolean") return switchControl(id);
  if (kind === "choice") {
    const node = element(
      "select",
      { id, className: "select" },
      choices.map((choice) => element("option", { value: choice }, choice)),
    );
    return {
      node,
      focus: node,
      get: () => node.value,
      set: (value) => {
        node.value = value;
      },
    };
  }
  if (kind === "integer" || kind === "number") {
    const typed = textControl(id, "number short", { inputMode: kind === "integer" ? "numeric" : "decimal" });
    return { ...typed, get: () => number(typed.node.value), set: (value) => typed.set(String(value)) };
  }
  if (kind === "numbers") return numbersControl(id, setting, onchange);
  if (kind === "list") {
    const area = areaControl(id, Math.max(2, setting.value.length + 1), "one per line");
    return {
      ...area,
      get: () =>
        area
          .get()
          .split("\n")
          .map((line) => line.trim())
          .filter(Boolean),
      set: (value) => area.set(value.join("\n")),
    };
  }
  if (kind === "yaml") return areaControl(id, Math.max(2, setting.yaml.split("\n").length), "in YAML");
  const secret = {
    type: "password",
    autocomplete: "new-password",
    placeholder: setting.set ? "set; type a new one to replace it" : "not set",
  };
  return textControl(id, "mono", kind === "secret" ? secret : {});
}
