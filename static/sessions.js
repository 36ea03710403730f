// The table of sessions. Rows keep their nodes, so that hundreds of them stay smooth.

import { endAll } from "./actions.js";
import { createSession } from "./new-session.js";
import { element, icon } from "./page.js";
import { COLUMNS, Row } from "./session-row.js";

export class SessionTable {
  constructor(place) {
    this.rows = new Map();
    this.selected = new Set();
    this.sort = { key: "age", up: true };
    this.sessions = new Map();
    this.now = Date.now();
    this.body = element("tbody", {});
    this.empty = element("div", { className: "empty" });
    this.all = element("input", {
      type: "checkbox",
      className: "check",
      "aria-label": "Select all that are shown",
      onchange: () => this.selectAll(),
    });
    this.heads = COLUMNS.map((column) =>
      element(
        "th",
        { scope: "col", className: `head-${column.key}${column.right ? " right" : ""}` },
        element("button", { type: "button", onclick: () => this.sortBy(column.key) }, column.title),
      ),
    );
    this.search = element("input", {
      className: "input",
      type: "search",
      placeholder: "Search name, id, label, workspace",
      "aria-label": "Search sessions",
      title: "Press / to search",
      oninput: () => this.refresh(),
    });
    this.state = this.filter("Kernel", "Any state");
    this.image = this.filter("Image", "Any image");
    this.order = element(
      "select",
      { className: "select phone-only", "aria-label": "Sort by", onchange: () => this.sortBy(this.order.value, true) },
      ...COLUMNS.map((column) =>
        element("option", { value: column.key, selected: column.key === "age" }, `Sort: ${column.title}`),
      ),
    );
    this.endButton = element("button", {
      type: "button",
      className: "button danger",
      hidden: true,
      onclick: () => this.endSelected(),
    });
    place.append(
      element(
        "div",
        { className: "toolbar" },
        element("label", { className: "search" }, icon("search"), this.search),
        this.state,
        this.image,
        this.order,
        element("div", { className: "spacer" }),
        this.endButton,
        element("button", { type: "button", className: "button", onclick: createSession }, icon("plus"), "New session"),
      ),
      element(
        "div",
        { className: "table-wrap" },
        element(
          "table",
          { className: "table sessions" },
          element("caption", { className: "visually-hidden" }, "Sessions"),
          element(
            "thead",
            {},
            element(
              "tr",
              {},
              element("th", { scope: "col", className: "pick" }, this.all),
              ...this.heads,
              element(
                "th",
                { scope: "col", className: "do" },
                element("span", { className: "visually-hidden" }, "Actions"),
              ),
            ),
          ),
          this.body,
        ),
      ),
      this.empty,
    );
    addEventListener("keydown", (event) => {
      if (
        event.key !== "/" ||
        event.ctrlKey ||
        event.metaKey ||
        event.target.closest("input, textarea, select, dialog") ||
        place.hidden
      )
        return;
      event.preventDefault();
      this.search.focus();
    });
    this.markSort();
  }

  filter(label, any) {
    return element(
      "select",
      { className: "select", "aria-label": label, onchange: () => this.refresh() },
      element("option", { value: "" }, any),
    );
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
      if (column.key === this.sort.key)
        this.heads[index].setAttribute("aria-sort", this.sort.up ? "ascending" : "descending");
      else this.heads[index].removeAttribute("aria-sort");
    });
  }

  matches(session) {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (this.state.value && session.state !== this.state.value) return false;
    if (this.image.value && session.image !== this.image.value) return false;
    if (!words.length) return true;
    const labels = Object.entries(session.labels).map(([key, value]) => `${key}=${value}`);
    const text = [session.id, session.name, session.image, session.kernelspec, session.workspace_id ?? "", ...labels]
      .join(" ")
      .toLowerCase();
    return words.every((word) => text.includes(word));
  }

  /** Show these sessions, a map by id; `now` is the time of the gateway in milliseconds. */
  show(sessions, now) {
    this.sessions = sessions;
    this.now = now;
    this.choices(this.state, ["idle", "busy", ...[...sessions.values()].map((session) => session.state)]);
    this.choices(
      this.image,
      [...sessions.values()].map((session) => session.image),
    );
    this.refresh();
  }

  /** Whether rows keep their places: a button must not move away under the pointer. */
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
      this.empty.replaceChildren(
        ...(this.sessions.size
          ? [element("strong", {}, "No session matches"), "Change the search or the filters."]
          : [element("strong", {}, "No session runs"), "A session appears here when a client creates it."]),
      );
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

  /** The sessions that are selected and shown: a hidden one is never ended. */
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
}
