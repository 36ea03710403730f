// One row of the table of sessions.

import { end, extend, interrupt, restart, titleOf } from "./actions.js";
import { ago, bytes, countdown, duration, moment, percent, shortId } from "./format.js";
import { at, element, iconButton } from "./page.js";

const { compare } = new Intl.Collator();
const byText = (of) => (a, b) => compare(of(a), of(b));
const byTime = (of) => (a, b) => (of(a) < of(b) ? 1 : of(a) > of(b) ? -1 : 0);
const byNumber = (of) => (a, b) => (of(a) ?? -1) - (of(b) ?? -1);
const FOREVER = Number.MAX_SAFE_INTEGER;

/** The columns of the table, with the order of their values. */
export const COLUMNS = [
  { key: "name", title: "Session", compare: byText((s) => titleOf(s).toLowerCase()) },
  { key: "image", title: "Image", compare: byText((s) => s.image) },
  { key: "state", title: "Kernel", compare: byText((s) => s.state) },
  { key: "workspace", title: "Workspace", compare: byText((s) => s.workspace_id ?? "") },
  { key: "age", title: "Age", right: true, compare: byTime((s) => s.created_at) },
  { key: "activity", title: "Last activity", right: true, compare: byTime((s) => s.last_activity) },
  {
    key: "left",
    title: "Time left",
    right: true,
    compare: byNumber((s) => (s.expires_at ? Date.parse(s.expires_at) : FOREVER)),
  },
  { key: "memory", title: "Memory", compare: byNumber((s) => s.memory_bytes) },
  { key: "cpu", title: "CPU", right: true, compare: byNumber((s) => s.cpu) },
];

function set(node, text) {
  if (node.shown === text) return;
  node.shown = text;
  node.textContent = text;
}

/** One row of the table. Its cells are made once; an update changes only those with another value. */
export class Row {
  constructor(table, session) {
    this.table = table;
    this.link = element("a", { className: "name", href: at(`sessions/${session.id}`).href });
    this.id = element("span", { className: "mono faint id" }, shortId(session.id));
    this.check = element("input", {
      type: "checkbox",
      className: "check",
      onchange: () => table.select(this.session.id, this.check.checked),
    });
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
    const cells = Object.fromEntries(
      COLUMNS.map((column) => [
        column.key,
        element("td", { className: `col-${column.key}${column.right ? " right" : ""}`, "data-label": column.title }),
      ]),
    );
    cells.name.append(this.link, this.id);
    cells.state.append(this.state);
    cells.memory.append(this.used, this.bar);
    this.cells = cells;
    this.node = element(
      "tr",
      {},
      element("td", { className: "pick" }, this.check),
      ...COLUMNS.map((column) => cells[column.key]),
      element(
        "td",
        { className: "do" },
        element("div", { className: "actions" }, ...buttons.map((button) => button.node)),
      ),
    );
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
    this.cells.memory.title =
      session.memory_bytes === null ? "" : `${bytes(session.memory_bytes)} of ${bytes(session.memory_limit)}`;
    set(this.cells.cpu, percent(session.cpu));
  }

  /** Show the values that never change. */
  introduce(session) {
    this.id.hidden = !session.name;
    set(this.cells.image, session.image);
    this.cells.image.title = session.kernelspec;
    set(this.cells.workspace, session.workspace_id ?? "–");
    this.cells.workspace.title = session.workspace_id ?? "temporary, ends with the session";
    this.cells.workspace.classList.toggle("faint", !session.workspace_id);
    this.cells.age.title = moment(session.created_at);
    this.cells.cpu.title = `of one processor; the limit is ${session.cpu_limit}`;
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
