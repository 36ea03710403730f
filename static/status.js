// The status page: shows the snapshots that the gateway streams once a second.

import { CHARTS, Chart } from "./charts.js";
import { EventList } from "./events.js";
import { bytes, duration, milliseconds, percent } from "./format.js";
import { Live } from "./live.js";
import { element, frame, icon, tabs } from "./page.js";
import { SessionTable } from "./sessions.js";
import { WorkspaceList } from "./workspaces.js";

const byId = (id) => document.getElementById(id);
const live = frame("status");
const table = new SessionTable(byId("sessions"));
const workspaces = new WorkspaceList(byId("workspaces"));
const events = new EventList(byId("events"));
const charts = Object.entries(CHARTS).map(([name, options]) => new Chart(byId(`chart-${name}`), options));
const sessions = new Map();
let history = [];
let step = 10;
let heardAt = 0;

function set(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

function bar(id, share) {
  const node = byId(id);
  node.firstElementChild.style.transform = `scaleX(${Math.min(1, share)})`;
  node.dataset.level = share > 0.95 ? "full" : share > 0.8 ? "high" : "";
}

function showTiles({ sandboxes, host, gateway }) {
  set("in-use", String(sandboxes.claimed));
  set("of-max", `of ${sandboxes.max} in use`);
  for (const state of ["claimed", "starting", "warm", "ending"]) {
    set(state, String(sandboxes[state]));
    byId("stack").querySelector(`[data-state=${state}]`).style.flexGrow = sandboxes[state] / sandboxes.max;
  }
  set("cpu", percent(host.cpu));
  set("cpu-note", `${host.cpus} processors, load ${host.load.toFixed(2)}`);
  bar("cpu-bar", host.cpu);
  const inSessions = [...sessions.values()].reduce((total, session) => total + (session.memory_bytes ?? 0), 0);
  set("memory", bytes(host.memory_bytes));
  set("memory-of", `of ${bytes(host.memory_total)}`);
  set("memory-note", `${bytes(inSessions)} in sessions`);
  bar("memory-bar", host.memory_bytes / host.memory_total);
  set("disk", bytes(host.disk_bytes));
  set("disk-of", `of ${bytes(host.disk_total)}`);
  set("disk-note", `${bytes(host.disk_total - host.disk_bytes)} free`);
  bar("disk-bar", host.disk_bytes / host.disk_total);
  live.title = `Version ${gateway.version}, up for ${duration((Date.now() - Date.parse(gateway.started)) / 1000)}`;
}

const MAX_DOTS = 8;

function warmth(pool) {
  if (!pool.target && !pool.warm && !pool.starting) return element("span", { className: "faint" }, "none kept");
  const words = `${pool.warm} of ${pool.target}`;
  const more = pool.starting ? `, ${pool.starting} starting` : "";
  const many = Math.max(pool.target, pool.warm + pool.starting);
  const dots =
    many > 0 && many <= MAX_DOTS
      ? Array.from({ length: many }, (_, index) =>
          element("i", { className: index < pool.warm ? "warm" : index < pool.warm + pool.starting ? "starting" : "" }),
        )
      : [];
  return element(
    "span",
    { className: "warmth", title: words + more },
    dots.length ? element("span", { className: "dots", "aria-hidden": "true" }, ...dots) : null,
    element("span", {}, words),
    pool.starting ? element("span", { className: "faint" }, `+${pool.starting}`) : null,
  );
}

let poolShown = "";

function showPool(pools) {
  const text = JSON.stringify(pools);
  if (text === poolShown) return;
  poolShown = text;
  const images = new Map();
  for (const pool of pools) images.set(pool.image, [...(images.get(pool.image) ?? []), pool]);
  const rows = [...images].map(([image, parts]) => {
    const total = (name) => parts.reduce((sum, part) => sum + part[name], 0);
    const [{ hit_rate: rate, claim_p50_ms: p50, claim_p95_ms: p95, claims }] = parts;
    const numbers = [
      [percent(rate), `${claims} claims`],
      [milliseconds(p50), ""],
      [milliseconds(p95), ""],
    ];
    return element(
      "tr",
      {},
      element("th", { scope: "row", title: parts.map((part) => part.kernelspec).join(", ") }, image),
      element("td", {}, warmth({ warm: total("warm"), target: total("target"), starting: total("starting") })),
      ...numbers.map(([number, title]) => element("td", { className: "right", title }, number)),
    );
  });
  byId("pool").replaceChildren(...rows);
}

function showHistory({ rows, step: seconds }, whole) {
  step = seconds ?? step;
  if (whole) history = rows;
  for (const row of whole ? [] : rows) {
    const known = history.findLastIndex((old) => old[0] === row[0]);
    if (known >= 0) history[known] = row;
    else history.push(row);
  }
  history.splice(0, Math.max(0, history.length - 3600 / step));
  for (const chart of charts) chart.show(history, step);
}

function show(picture, whole) {
  heardAt = Date.now();
  if (whole) {
    const there = new Set(picture.sessions.map((session) => session.id));
    picture.gone = [...sessions.keys()].filter((id) => !there.has(id));
  }
  for (const id of picture.gone) sessions.delete(id);
  for (const session of picture.sessions) sessions.set(session.id, session);
  set("session-count", String(sessions.size));
  table.show(sessions, Date.parse(picture.time));
  workspaces.know(sessions);
  showTiles(picture);
  showPool(picture.pool);
  showHistory(picture.history, whole);
}

function showConnection(state) {
  const lost = state === "lost";
  live.replaceChildren(element("span", { className: "state", "data-state": state }, lost ? "Reconnecting…" : "Live"));
  document.body.classList.toggle("stale", lost);
  byId("lost").hidden = !lost;
  if (lost) {
    const since = heardAt ? `The figures are of ${new Date(heardAt).toLocaleTimeString()}.` : "";
    byId("lost").replaceChildren(icon("warning"), `The connection to the gateway is lost; reconnecting. ${since}`);
  }
}

const narrow = matchMedia("(max-width: 48rem)");
const reach = () => (document.querySelector(".overview").tabIndex = narrow.matches ? 0 : -1);
narrow.addEventListener("change", reach);
reach();
tabs(document.querySelector("[role=tablist]"), (name) => {
  workspaces.look(name === "workspaces");
  events.look(name === "events");
});
new Live(
  "v1/status",
  { status: (picture) => show(picture, true), change: (picture) => show(picture, false) },
  showConnection,
).start();
