// The table of sessions: rows are changed where they stand, so that hundreds of them stay smooth.

import { end, endAll, extend, interrupt, restart, titleOf } from "./actions.js";
import { ago, bytes, countdown, duration, moment, percent, shortId } from "./format.js";
import { api, at, attempt, element, icon, iconButton } from "./page.js";

const { compare } = new Intl.Collator();
const byText = (of) => (a, b) => compare(of(a), of(b));
const byTime = (of) => (a, b) => (of(a) < of(b) ? 1 : of(a) > of(b) ? -1 : 0);
const byNumber = (of) => (a, b) => (of(a) ?? -1) - (of(b) ?? -1);
const FOREVER = Number.MAX_SAFE_INTEGER;

const COLUMNS = [
  { key: "name", title: "Session", compare: byText((s) => titleOf(s).toLowerCase()) },
  { key: "image", title: "Image", compare: byText((s) => s.image) },
  { key: "state", title: "Kernel", compare: byText((s) => s.state) },
  { key: "workspace", title: "Workspace", compare: byText((s) => s.workspace_id ?? "") },
  { key: "age", title: "Age", right: true, compare: byTime((s) => s.created_at) },
  { key: "activity", title: "Last activity", right: true, compare: byTime((s) => s.last_activity) },
  { key: "left", title: "Time left", right: true, compare: byNumber((s) => (s.expires_at ? Date.parse(s.expires_at) : FOREVER)) },
  { key: "memory", title: "Memory", compare: byNumber((s) => s.memory_bytes) },
  { key: "cpu", title: "CPU", right: true, compare: byNumber((s) => s.cpu) },
];

function set(node, text) {
  if (node.shown === text) return;
  node.shown = text;
  node.textContent = text;
}

/** One row; its cells are made once and changed where what they show changes. */
class Row {
  constructor(table, session) {
    this.table = table;
    this.link = element("a", { className: "name", href: at(`sessions/${session.id}`).href });
    this.id = element("span", { className: "mono faint id" }, shortId(session.id));
    this.check = element("input", { type: "checkbox", className: "check", onchange: () => table.select(this.session.id, this.check.checked) });
    this.state = element("span", { className: "state" });
    this.bar = element("span", { className: "bar", "aria-hidden": "true" }, element("i"));
    this.used = element("span", {});
    const buttons = [
      this.action("interrupt", "Interrupt", interrupt),
      this.action("restart", "Restart the kernel of", restart),
      this.action("extend", "Extend the time of", extend),
      this.action("end", "End", end, "danger"),
    ];
    this.buttons = buttons;
    const cells = Object.fromEntries(COLUMNS.map((column) => [column.key, element("td", { className: `col-${column.key}${column.right ? " right" : ""}`, "data-label": column.title })]));
    cells.name.append(this.link, this.id);
    cells.state.append(this.state);
    cells.memory.append(this.used, this.bar);
    this.cells = cells;
    this.node = element("tr", {}, element("td", { className: "pick" }, this.check), ...COLUMNS.map((column) => cells[column.key]), element("td", { className: "do" }, element("div", { className: "actions" }, ...buttons.map((button) => button.node))));
  }

  action(name, label, work, className = "") {
    const node = iconButton(name, label, () => work(this.session), className);
    return { node, label };
  }

  show(session) {
    const before = this.session;
    if (session === before) return;
    const title = titleOf(session);
    if (!before) this.introduce(session);
    if (!before || title !== titleOf(before)) {
      set(this.link, title);
      this.link.title = title;
      this.check.setAttribute("aria-label", `Select ${title}`);
      for (const button of this.buttons) button.node.setAttribute("aria-label", `${button.label} ${title}`);
    }
    this.session = session;
    if (session.state !== before?.state) {
      set(this.state, session.state);
      this.state.dataset.state = session.state;
    }
    if (session.last_activity !== before?.last_activity) this.cells.activity.title = moment(session.last_activity);
    this.created = Date.parse(session.created_at);
    this.active = Date.parse(session.last_activity);
    this.expires = session.expires_at && Date.parse(session.expires_at);
    set(this.used, session.memory_bytes === null ? "–" : bytes(session.memory_bytes));
    const share = session.memory_bytes === null ? 0 : session.memory_bytes / session.memory_limit;
    this.bar.firstChild.style.transform = `scaleX(${Math.min(1, share).toFixed(3)})`;
    this.bar.dataset.level = share > 0.9 ? "full" : share > 0.75 ? "high" : "";
    this.cells.memory.title = session.memory_bytes === null ? "" : `${bytes(session.memory_bytes)} of ${bytes(session.memory_limit)}`;
    set(this.cells.cpu, percent(session.cpu));
  }

  /** Show what does not change. */
  introduce(session) {
    this.id.hidden = !session.name;
    set(this.cells.image, session.image);
    this.cells.image.title = session.kernelspec;
    set(this.cells.workspace, session.workspace_id ?? "–");
    this.cells.workspace.title = session.workspace_id ?? "goes with the session";
    this.cells.workspace.classList.toggle("faint", !session.workspace_id);
    this.cells.age.title = moment(session.created_at);
    this.cells.cpu.title = `of one processor; it may use ${session.cpu_limit}`;
  }

  tick(now) {
    const { ttl_seconds: ttl, state } = this.session;
    set(this.cells.age, duration((now - this.created) / 1000));
    set(this.cells.activity, ago((now - this.active) / 1000));
    const left = this.expires ? (this.expires - now) / 1000 : null;
    set(this.cells.left, left !== null ? countdown(left) : ttl && state !== "dead" ? "in use" : "no limit");
    this.cells.left.classList.toggle("soon", left !== null && left < 120);
    this.cells.left.classList.toggle("faint", left === null);
  }
}

export class SessionTable {
  constructor(place) {
    this.rows = new Map();
    this.selected = new Set();
    this.sort = { key: "age", up: true };
    this.sessions = new Map();
    this.now = Date.now();
    this.body = element("tbody", {});
    this.empty = element("div", { className: "empty" });
    this.all = element("input", { type: "checkbox", className: "check", "aria-label": "Select all that are shown", onchange: () => this.selectAll() });
    this.heads = COLUMNS.map((column) => element("th", { scope: "col", className: `head-${column.key}${column.right ? " right" : ""}` }, element("button", { type: "button", onclick: () => this.sortBy(column.key) }, column.title)));
    this.search = element("input", { className: "input", type: "search", placeholder: "Search name, id, label, workspace", "aria-label": "Search sessions", title: "Press / to search", oninput: () => this.refresh() });
    this.state = this.filter("Kernel", "Any state");
    this.image = this.filter("Image", "Any image");
    this.order = element("select", { className: "select phone-only", "aria-label": "Sort by", onchange: () => this.sortBy(this.order.value, true) }, ...COLUMNS.map((column) => element("option", { value: column.key, selected: column.key === "age" }, `Sort: ${column.title}`)));
    this.endButton = element("button", { type: "button", className: "button danger", hidden: true, onclick: () => this.endSelected() });
    place.append(
      element("div", { className: "toolbar" }, element("label", { className: "search" }, icon("search"), this.search), this.state, this.image, this.order, element("div", { className: "spacer" }), this.endButton,
        element("button", { type: "button", className: "button", onclick: () => this.create() }, icon("plus"), "New session")),
      element("div", { className: "table-wrap" }, element("table", { className: "table sessions" },
        element("caption", { className: "visually-hidden" }, "Sessions"),
        element("thead", {}, element("tr", {}, element("th", { scope: "col", className: "pick" }, this.all), ...this.heads, element("th", { scope: "col", className: "do" }, element("span", { className: "visually-hidden" }, "Actions")))), this.body)),
      this.empty,
    );
    addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select, dialog") || place.hidden) return;
      event.preventDefault();
      this.search.focus();
    });
    this.markSort();
  }

  filter(label, any) {
    return element("select", { className: "select", "aria-label": label, onchange: () => this.refresh() }, element("option", { value: "" }, any));
  }

  choices(select, values) {
    const known = [...select.options].slice(1).map((option) => option.value);
    for (const value of values) if (!known.includes(value)) select.append(element("option", { value }, value));
  }

  sortBy(key, keep = false) {
    this.sort = { key, up: keep || this.sort.key !== key ? true : !this.sort.up };
    this.markSort();
    this.refresh(true);
  }

  markSort() {
    COLUMNS.forEach((column, index) => {
      if (column.key === this.sort.key) this.heads[index].setAttribute("aria-sort", this.sort.up ? "ascending" : "descending");
      else this.heads[index].removeAttribute("aria-sort");
    });
  }

  matches(session) {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (this.state.value && session.state !== this.state.value) return false;
    if (this.image.value && session.image !== this.image.value) return false;
    if (!words.length) return true;
    const labels = Object.entries(session.labels).map(([key, value]) => `${key}=${value}`);
    const text = [session.id, session.name, session.image, session.kernelspec, session.workspace_id ?? "", ...labels].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  /** Show these sessions, a map by id; `now` is the gateway's clock. */
  show(sessions, now) {
    this.sessions = sessions;
    this.now = now;
    this.choices(this.state, ["idle", "busy", ...[...sessions.values()].map((session) => session.state)]);
    this.choices(this.image, [...sessions.values()].map((session) => session.image));
    this.refresh();
  }

  /** Whether rows keep their places: who points at a button must not press another one's. */
  get held() {
    return this.body.matches(":hover") || this.body.contains(document.activeElement);
  }

  refresh(resort = false) {
    for (const id of this.selected) if (!this.sessions.has(id)) this.selected.delete(id);
    const inOrder = COLUMNS.find((column) => column.key === this.sort.key).compare;
    const shown = [...this.sessions.values()].filter((session) => this.matches(session));
    shown.sort((a, b) => (this.sort.up ? 1 : -1) * inOrder(a, b) || (a.id < b.id ? -1 : 1));
    if (this.held && !resort) {
      const places = new Map([...this.body.children].map((node, index) => [node.dataset.id, index]));
      shown.sort((a, b) => (places.get(a.id) ?? -1) - (places.get(b.id) ?? -1));
    }
    const wanted = new Set(shown.map((session) => session.id));
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      row.node.remove();
      this.rows.delete(id);
    }
    let place = this.body.firstElementChild;
    for (const session of shown) {
      let row = this.rows.get(session.id);
      if (!row) {
        row = new Row(this, session);
        row.node.dataset.id = session.id;
        row.check.checked = this.selected.has(session.id);
        this.rows.set(session.id, row);
      }
      row.show(session);
      row.tick(this.now);
      if (row.node === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.node, place);
    }
    this.empty.hidden = shown.length > 0;
    if (!shown.length) {
      this.empty.replaceChildren(...(this.sessions.size
        ? [element("strong", {}, "No session matches"), "Other words or filters may find it."]
        : [element("strong", {}, "No session runs"), "One appears here as soon as a client makes it."]));
    }
    this.body.parentElement.hidden = !shown.length;
    this.markSelection();
  }

  select(id, chosen) {
    if (chosen) this.selected.add(id);
    else this.selected.delete(id);
    this.markSelection();
  }

  selectAll() {
    for (const [id, row] of this.rows) {
      row.check.checked = this.all.checked;
      if (this.all.checked) this.selected.add(id);
      else this.selected.delete(id);
    }
    this.markSelection();
  }

  /** What is selected and shown; what a filter hides is never ended along. */
  get chosen() {
    return [...this.rows].filter(([id]) => this.selected.has(id)).map(([, row]) => row.session);
  }

  markSelection() {
    for (const [id, row] of this.rows) {
      row.node.classList.toggle("selected", this.selected.has(id));
    }
    const number = this.chosen.length;
    this.all.checked = number > 0 && number === this.rows.size;
    this.all.indeterminate = number > 0 && number < this.rows.size;
    this.endButton.hidden = number === 0;
    const text = `End selected (${number})`;
    if (this.endButton.textContent !== text) this.endButton.textContent = text;
  }

  async endSelected() {
    for (const id of await endAll(this.chosen)) this.selected.delete(id);
    this.markSelection();
  }

  create() {
    const images = element("select", { className: "select", id: "new-image" });
    const name = element("input", { className: "input", id: "new-name", maxLength: 100, autocomplete: "off" });
    const workspace = element("input", { className: "input", id: "new-workspace", autocomplete: "off", placeholder: "goes with the session", "aria-describedby": "new-error" });
    const error = element("p", { className: "error", id: "new-error", role: "alert" });
    const field = (label, input, ...more) => element("div", { className: "field" }, element("label", { for: input.id }, label), input, ...more);
    const submit = element("button", { className: "button primary" }, "Create");
    const dialog = element("dialog", { "aria-labelledby": "new-title" }, element("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        submit.disabled = true;
        error.textContent = "";
        try {
          const made = await api("POST", "v1/sessions", { image: images.value, name: name.value, ...(workspace.value ? { workspace_id: workspace.value } : {}) });
          location.assign(at(`sessions/${made.id}`));
        } catch (refusal) {
          error.textContent = refusal.message;
          submit.disabled = false;
        }
      },
    }, element("h2", { id: "new-title" }, "New session"), field("Image", images), field("Name", name), field("Workspace", workspace, error),
    element("div", { className: "button-row" }, element("button", { type: "button", className: "button", onclick: () => dialog.close() }, "Cancel"), submit)));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    attempt(async () => {
      const { pool } = await api("GET", "v1/status");
      const known = [...new Set(pool.map((one) => one.image))];
      images.replaceChildren(...known.map((image) => element("option", { value: image, selected: image === "python" }, image)));
    });
  }
}
