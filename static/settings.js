// The settings page: a form of all settings, and the file. The gateway checks both while the user types.

import { Field } from "./fields.js";
import { FileEditor } from "./file-editor.js";
import { Live } from "./live.js";
import { noticesOf } from "./notices.js";
import { Refused, api, confirm, element, frame, icon, tabs, toast } from "./page.js";

const CHECK_MS = 350;
const byId = (id) => document.getElementById(id);
const live = frame("settings");
const fields = new Map();
const editor = new FileEditor(typed);
let model = null;
let faults = [];
let outcome = null;
let checking = 0;
let timer = 0;
let saving = false;
let lost = "";
let wasLost = false;

const changed = () => [...fields.values()].filter((field) => field.changed);
const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function body(more = {}) {
  if (editor.changed) return { version: model.version, text: editor.text, ...more };
  const changes = {};
  const yaml = {};
  for (const field of changed()) {
    const typedYaml = field.setting.type.kind === "yaml" && field.value !== null;
    (typedYaml ? yaml : changes)[field.setting.name] = field.value;
  }
  return { version: model.version, changes, yaml, ...more };
}

function show(found) {
  const before = new Map(fields);
  const focused = document.activeElement?.id;
  model = found;
  fields.clear();
  const readOnly = Boolean(model.read_only);
  const groups = model.sections.map((section) => {
    const rows = section.settings.map((setting) => {
      const field = new Field(setting, { onchange: typed, readOnly: readOnly || model.errors.length > 0 });
      fields.set(setting.name, field);
      return field.node;
    });
    return element(
      "section",
      { className: "group", id: `section-${section.title}`, "aria-labelledby": `title-${section.title}` },
      element("h2", { id: `title-${section.title}` }, section.title),
      ...rows,
    );
  });
  byId("groups").replaceChildren(...groups);
  byId("sections").replaceChildren(
    ...model.sections.map((section) =>
      element(
        "a",
        {
          href: `#section-${section.title}`,
          "data-section": section.name,
          onclick: (event) => {
            event.preventDefault(); // the URL's # belongs to the tabs
            byId(`section-${section.title}`).scrollIntoView();
          },
        },
        element("span", {}, section.title[0].toUpperCase() + section.title.slice(1)),
        element("span", { className: "count", hidden: true }),
      ),
    ),
  );
  byId("file").textContent = model.file;
  byId("access").hidden = !readOnly;
  byId("access").textContent = "read-only";
  byId("access").dataset.state = "warn";
  editor.show(model.text, readOnly);
  filter();
  notices();
  if (focused) byId(focused)?.focus();
  return before;
}

function notices() {
  const waiting = [...fields.values()].filter((field) => field.setting.after_restart);
  const names = waiting.map((field) => field.setting.name);
  byId("notices").replaceChildren(...noticesOf(model, names, lost));
}

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const field of fields.values()) field.node.hidden = !field.matches(words);
  for (const group of byId("groups").children) group.hidden = !group.querySelector(".setting:not([hidden])");
}

/** Show each field's error, and below the form how many changes there are and when they take effect. */
function state() {
  const number = editor.changed ? 1 : changed().length;
  const atFields = new Map(editor.changed ? [] : faults.map((fault) => [fault.name, fault.message]));
  for (const [name, field] of fields) field.wrong(atFields.get(name) ?? "");
  editor.tell(editor.changed ? faults : model.errors);
  for (const link of byId("sections").children) {
    const own = [...fields]
      .filter(([name]) => (name.includes(".") ? name.split(".")[0] : "") === link.dataset.section)
      .map(([, field]) => field);
    const wrong = own.filter((field) => atFields.has(field.setting.name)).length;
    const badge = link.querySelector(".count");
    const some = wrong || own.filter((field) => field.changed).length;
    badge.hidden = !some;
    badge.textContent = some;
    badge.dataset.state = wrong ? "bad" : "changed";
  }
  const read = Boolean(model.read_only);
  for (const field of fields.values()) field.control.node.inert = editor.changed;
  editor.lock(read || (!editor.changed && number > 0));
  byId("form").querySelector(".settings-layout").title = editor.changed
    ? "Save or discard your changes to the file first."
    : "";
  byId("text").title = !editor.changed && number ? "Save or discard your changes to the form first." : "";
  const bar = byId("save-bar");
  bar.hidden = !number;
  if (!number) return;
  const words = editor.changed ? ["The file is changed"] : [count(number, "change", "changes")];
  if (faults.length) {
    words.push(count(faults.length, "error", "errors"));
    const elsewhere = faults
      .filter((fault) => !fields.has(fault.name) && !editor.changed)
      .map((fault) => fault.message);
    words.push(...elsewhere);
  } else if (outcome) {
    if (outcome.applied.length) words.push(`${outcome.applied.join(", ")} at once`);
    if (outcome.after_restart.length) words.push(`${outcome.after_restart.join(", ")} after restart`);
    const told = new Set(model.warnings.map((warning) => warning.message));
    words.push(...outcome.warnings.map((warning) => warning.message).filter((message) => !told.has(message)));
  }
  byId("save-state").textContent = words.join(" · ");
  byId("save-state").dataset.state = faults.length ? "bad" : "";
  byId("save").disabled = saving || faults.length > 0;
}

function typed() {
  clearTimeout(timer);
  checking += 1;
  outcome = null;
  if (editor.changed || changed().length) timer = setTimeout(check, CHECK_MS);
  else faults = [];
  state();
}

/** Ask the gateway whether the changes can be saved; ignore an answer that a newer check has overtaken. */
async function check() {
  const asked = ++checking;
  try {
    const answer = await api("PUT", "v1/settings", body({ dry_run: true }));
    if (asked !== checking) return;
    outcome = answer;
    faults = answer.errors;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (asked !== checking) return;
    refused(error);
  }
  state();
}

/** Keep the error of a save: at its field, if it names one. */
function refused(error) {
  if (error.details.errors) faults = error.details.errors;
  else if (error.status !== 409) faults = [{ name: "", line: 0, message: error.message }];
  else faults = [];
}

async function save() {
  clearTimeout(timer);
  checking += 1;
  saving = true;
  state();
  try {
    const answer = await api("PUT", "v1/settings", body());
    faults = [];
    show(answer.settings);
    const when = [];
    if (answer.applied.length) when.push(`In effect: ${answer.applied.join(", ")}.`);
    if (answer.after_restart.length) when.push(`After a restart: ${answer.after_restart.join(", ")}.`);
    toast(["Saved.", ...when].join(" "));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 409) await overtaken();
    else {
      refused(error);
      if (!error.details.errors) toast(error.message, "bad");
      const first = faults.map((fault) => fields.get(fault.name)).find(Boolean);
      if (first && !editor.changed) first.control.focus.focus();
    }
  } finally {
    saving = false;
    state();
  }
}

/** Another user has saved: offer to load that, and keep the changes of this page. */
async function overtaken() {
  const inFile = editor.changed;
  const text = inFile
    ? ["Your text does not include their changes. Copy what you need before you load theirs."]
    : ["Load their settings? Your changes stay in their fields, unsaved."];
  const title = "Somebody else has saved the settings";
  if (
    !(await confirm({
      title,
      text,
      verb: inFile ? "Discard mine and load theirs" : "Load theirs, keep my changes",
      danger: inFile,
    }))
  )
    return;
  const before = show(await api("GET", "v1/settings"));
  for (const [name, field] of before) {
    if (!inFile && field.changed && fields.get(name)?.editable) fields.get(name).takeOver(field);
  }
  faults = [];
  typed();
}

function showFill(picture) {
  const field = fields.get("pool.images");
  if (!picture.pool || !field) return;
  const images = new Map();
  for (const pool of picture.pool) {
    const sum = images.get(pool.image) ?? { warm: 0, starting: 0, target: 0 };
    for (const name of Object.keys(sum)) sum[name] += pool[name];
    images.set(pool.image, sum);
  }
  field.control.names([...images.keys()]);
  const parts = [...images]
    .filter(([, { warm, starting, target }]) => warm || starting || target)
    .map(([image, { warm, starting, target }]) =>
      element(
        "span",
        { className: "state", "data-state": warm >= target ? "good" : "filling" },
        `${image}: ${warm} of ${target} warm${starting ? `, ${starting} starting` : ""}`,
      ),
    );
  const text = parts.map((part) => part.textContent).join();
  if (field.control.fill.dataset.text === text) return;
  field.control.fill.dataset.text = text;
  field.control.fill.hidden = !parts.length;
  field.control.fill.replaceChildren(...parts);
}

async function load() {
  try {
    show(await api("GET", "v1/settings"));
    lost = "";
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    lost = error.message;
  }
  notices();
  if (model) typed();
}

document.querySelector(".search").prepend(icon("search"));
tabs(document.querySelector('[role="tablist"]'), (name) => name === "yaml" && editor.number());
byId("filter").addEventListener("input", filter);
byId("save").addEventListener("click", save);
byId("discard").addEventListener("click", async () => {
  const number = editor.changed ? 0 : changed().length;
  const title = number ? `Discard ${count(number, "change", "changes")}?` : "Discard your changes to the file?";
  if (await confirm({ title, text: "The settings stay as they are.", verb: "Discard" })) {
    faults = [];
    await load();
  }
});
addEventListener("keydown", (event) => {
  if (event.key === "s" && (event.ctrlKey || event.metaKey) && !event.altKey) {
    event.preventDefault();
    if (!byId("save-bar").hidden && !byId("save").disabled) save();
  }
});
addEventListener("beforeunload", (event) => {
  if (model && (editor.changed || changed().length)) event.preventDefault();
});
new Live("v1/status", { status: showFill, change: showFill }, (now) => {
  live.textContent = now === "live" ? "" : "connection lost";
  // The gateway may have restarted with other settings.
  if (now === "live" && wasLost && model && !editor.changed && !changed().length) load();
  wasLost = now === "lost";
}).start();
await load();
