// The page of a session: live outputs, a console, its files, and the command for JupyterLab.

import { end, extend, interrupt, restart, titleOf } from "./actions.js";
import { Feed } from "./feed.js";
import { Files } from "./files.js";
import { ago, bytes, countdown, duration, moment, percent, shortId } from "./format.js";
import { KernelSocket } from "./kernel.js";
import { Live } from "./live.js";
import { BASE, api, call, copy, element, frame, icon, iconButton, toast } from "./page.js";

const byId = (id) => document.getElementById(id);
const id = decodeURIComponent(location.pathname.split("/").pop());
const live = frame("");
const feed = new Feed(byId("feed"));
const input = byId("input");
const past = [];
let info = null;
let socket = null;
let mode = "code";
let command = null;
let pastAt = 0;

function set(name, text) {
  if (byId(name).textContent !== text) byId(name).textContent = text;
}

const values = new Map();

function facts(entries) {
  for (const [name, text] of entries) {
    if (!values.has(name)) {
      values.set(name, element("dd", { className: name === "Id" ? "mono" : "" }));
      byId("facts").append(element("dt", {}, name), values.get(name));
    }
    if (values.get(name).textContent !== text) values.get(name).textContent = text;
  }
}

function bar(name, share) {
  byId(name).firstElementChild.style.transform = `scaleX(${Math.min(1, share)})`;
  byId(name).dataset.level = share > 0.9 ? "full" : share > 0.75 ? "high" : "";
}

function showRow(row, time) {
  const now = Date.parse(time);
  const left = row.expires_at
    ? countdown((Date.parse(row.expires_at) - now) / 1000)
    : row.ttl_seconds
      ? `in use; then ${duration(row.ttl_seconds)}`
      : "no limit";
  byId("state").dataset.state = row.state;
  set("state", row.state);
  set("memory", row.memory_bytes === null ? "–" : `${bytes(row.memory_bytes)} of ${bytes(row.memory_limit)}`);
  bar("memory-bar", row.memory_bytes === null ? 0 : row.memory_bytes / row.memory_limit);
  set("cpu", percent(row.cpu));
  bar("cpu-bar", (row.cpu ?? 0) / row.cpu_limit);
  const labels = Object.entries(row.labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(", ");
  facts([
    ["Id", row.id],
    ["Image", row.image === row.kernelspec ? row.image : `${row.image}, kernel ${row.kernelspec}`],
    ["Workspace", row.workspace_id ?? "temporary, ends with the session"],
    ["Labels", labels || "none"],
    ["Created", `${moment(row.created_at)}, ${ago((now - Date.parse(row.created_at)) / 1000)}`],
    ["Last activity", ago((now - Date.parse(row.last_activity)) / 1000)],
    ["Time left", left],
    ["Clients", String(row.connections)],
  ]);
}

async function showEnd(words = "") {
  updates.stop();
  shell.stop();
  socket?.stop();
  live.replaceChildren();
  byId("actions").hidden = true;
  byId("lost").hidden = true;
  byId("prompt").hidden = true;
  byId("state").hidden = true;
  const last = await api("GET", `v1/sessions/${id}`).catch(() => null);
  const text = last?.ended_at
    ? `This session has ended (${last.status}): ${last.reason}. ${moment(last.ended_at)}`
    : words || "There is no such session, or it ended long ago.";
  byId("ended").replaceChildren(icon("warning"), text);
  byId("ended").hidden = false;
  if (info) byId("session").classList.add("over");
}

function say(state) {
  const lost = state === "lost";
  live.replaceChildren(element("span", { className: "state", "data-state": state }, lost ? "Reconnecting…" : "Live"));
  byId("lost").hidden = !lost;
  if (lost)
    byId("lost").replaceChildren(
      icon("warning"),
      "The connection to the gateway is lost; reconnecting. The gateway keeps the kernel's messages for two minutes.",
    );
}

const shell = new Live(
  `v1/sessions/${encodeURIComponent(id)}/watch`,
  Object.fromEntries(["begin", "chunk", "end"].map((name) => [name, (data) => look(name, data)])),
  () => {},
  { silence: 0 },
);
const updates = new Live(
  `v1/status?session=${encodeURIComponent(id)}`,
  {
    session: ({ time, session }) => (session ? showRow(session, time) : showEnd()),
  },
  say,
);

const own = []; // commands of this page that have not begun: their output comes in the answer, not in the feed
const ownIds = new Set();

function look(event, data) {
  if (event === "begin" && own.includes(data.cmd)) {
    own.splice(own.indexOf(data.cmd), 1);
    ownIds.add(data.id);
  }
  if (!ownIds.has(data.id)) feed.command(event, data);
  else if (event === "end") ownIds.delete(data.id);
}

function useMode(name) {
  mode = name;
  for (const button of byId("mode").querySelectorAll("button"))
    button.setAttribute("aria-pressed", String(button.dataset.mode === name));
  const keys = navigator.platform.startsWith("Mac") ? "⌘" : "Ctrl";
  byId("hint").textContent =
    name === "cmd" ? "Enter runs it, Shift+Enter starts a new line" : `Shift+Enter or ${keys}+Enter runs it`;
  input.placeholder = name === "cmd" ? "ls -la" : info?.kernelspec === "bash" ? "" : "print(6 * 7)";
}

function runCode(code) {
  const request = socket.execute(code);
  if (!request) {
    toast("There is no connection to the kernel: try again in a moment.", "bad");
    return false;
  }
  feed.pinned = true;
  feed.cell(request, { code, who: "" }).running();
  return true;
}

async function runCommand(text) {
  const cell = feed.cell(`command-${performance.now()}`, { prompt: "$", code: text });
  cell.running();
  command = new AbortController();
  own.push(text);
  byId("stop").hidden = false;
  byId("run").disabled = true;
  try {
    const response = await call(
      "POST",
      `v1/sessions/${id}/exec/stream`,
      { cmd: text },
      { signal: command.signal, accept: "text/event-stream" },
    );
    for await (const [event, data] of events(response.body)) {
      if (event === "chunk") cell.stream(data.stream, data.chunk);
      else if (event === "error") cell.error({ ename: "Error", evalue: data.error });
      else if (event === "done")
        cell.done(
          data.timed_out ? "timed out" : data.exit_code ? `exit code ${data.exit_code}` : "",
          data.exit_code !== 0,
        );
    }
    cell.done();
  } catch (error) {
    if (error.name === "AbortError") cell.done("stopped", true);
    else cell.error({ ename: "Error", evalue: error.message });
    cell.done();
  }
  command = null;
  byId("stop").hidden = true;
  byId("run").disabled = false;
}

/** Yield the server-sent events of a response as pairs of name and data. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const text of frames) {
      const event = /^event: (.*)$/m.exec(text);
      const data = /^data: (.*)$/m.exec(text);
      if (event && data) yield [event[1], JSON.parse(data[1])];
    }
  }
}

function run() {
  const text = input.value;
  if (!text.trim() || command) return;
  if (mode === "cmd") runCommand(text);
  else if (!runCode(text)) return;
  if (past[past.length - 1] !== text) past.push(text);
  pastAt = past.length;
  input.value = "";
}

function recall(step) {
  const next = pastAt + step;
  if (next < 0 || next > past.length) return;
  pastAt = next;
  input.value = past[next] ?? "";
}

byId("prompt").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
input.addEventListener("keydown", (event) => {
  const alone = !input.value.includes("\n");
  if (
    event.key === "Enter" &&
    !event.isComposing &&
    (mode === "cmd" ? !event.shiftKey : event.shiftKey || event.ctrlKey || event.metaKey)
  ) {
    event.preventDefault();
    run();
  } else if (event.key === "ArrowUp" && alone && past.length) {
    event.preventDefault();
    recall(-1);
  } else if (event.key === "ArrowDown" && alone && pastAt < past.length) {
    event.preventDefault();
    recall(1);
  }
});
byId("mode").addEventListener("click", (event) => {
  const chosen = event.target.closest("button");
  if (chosen) useMode(chosen.dataset.mode);
  input.focus();
});
byId("stop").addEventListener("click", () => command?.abort());
byId("clear").addEventListener("click", () => feed.clear());

function begin() {
  const title = titleOf(info);
  document.title = `${title} · Sandkasten Kernels`;
  byId("title").textContent = title;
  const session = { ...info };
  const button = (name, text, work, className = "") =>
    element(
      "button",
      { type: "button", className: `button ${className}`.trim(), onclick: () => work(session) },
      icon(name),
      text,
    );
  byId("actions").replaceChildren(
    button("interrupt", "Interrupt", interrupt),
    button("restart", "Restart", restart),
    button("extend", "Extend", extend),
    button("end", "End", end, "danger"),
  );
  byId("actions").hidden = false;
  byId("session").hidden = false;
  const url = BASE.href.replace(/\/$/, "");
  const line = `JUPYTER_GATEWAY_AUTH_TOKEN=TOKEN jupyter lab --gateway-url=${url}`;
  byId("lab-line").textContent = line;
  byId("lab-line").parentElement.append(iconButton("copy", "Copy the line", () => copy(line, byId("lab-line"))));
  byId("lab-kernel").textContent = `${info.kernelspec} (${shortId(info.id)}…)`;
  new Files(byId("files"), `v1/sessions/${id}`).open("");
  const shellOnly = info.kernelspec === "bash"; // the kernel is the shell: its outputs are in the feed already
  byId("mode").hidden = shellOnly;
  useMode("code");
  if (shellOnly) byId("hint").textContent += "; the kernel is the shell";
  socket = new KernelSocket(id, {
    onmessage: (message) => feed.message(message),
    onstate: (state) => {
      set("console-note", state === "lost" ? "reconnecting…" : "");
    },
    ongone: showEnd,
  });
  updates.start();
  if (!shellOnly) shell.start();
}

try {
  info = await api("GET", `v1/sessions/${encodeURIComponent(id)}`);
} catch (error) {
  await showEnd(error.message);
}
if (info?.status === "running") begin();
else if (info) {
  byId("title").textContent = titleOf(info);
  await showEnd();
}
