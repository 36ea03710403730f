// Shared by all pages: the header, requests to the gateway, dialogs, toasts. Text never becomes markup.

export const BASE = new URL("..", import.meta.url);

const ICONS = {
  sun:
    "M8 4.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4M8 1v1.2M8 13.8V15M1 8h1.2M13.8 8H15" +
    "M3 3l.9.9M12.1 12.1l.9.9M3 13l.9-.9M12.1 3.9 13 3",
  moon: "M13.4 9.6A5.8 5.8 0 0 1 6.4 2.6 5.8 5.8 0 1 0 13.4 9.6",
  out: "M6.5 2.5h-3v11h3M10 5l3 3-3 3M13 8H6",
  interrupt: "M4.5 4.5h7v7h-7z",
  restart: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3",
  extend: "M8 4.5V8l2.2 1.6M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2",
  end: "m4 4 8 8M12 4l-8 8",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.4 10.4 14 14",
  copy: "M5.5 5.5h7v8h-7zM3.5 10.5v-8h7",
  check: "m3.5 8.5 3 3 6-7",
  warning: "M8 2.5 14.5 13.5h-13zM8 6.5v3M8 11.5v.2",
  download: "M8 2.5v7.5M5 7l3 3 3-3M2.5 13h11",
  upload: "M8 10.5V3M5 6l3-3 3 3M2.5 13h11",
  trash: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5",
  folder: "M2 4h4l1.5 1.5H14v7.5H2z",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
  refresh: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3",
  plus: "M8 3v10M3 8h10",
  up: "M8 13V4M4.5 7.5 8 4l3.5 3.5",
  play: "M5 3.5v9l7-4.5z",
};

/** Return an element with attributes, properties (`onclick`, `hidden`, ...) and children; a string becomes text. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && !name.startsWith("aria") && name !== "list") node[name] = value;
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Return the icon of this name. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("class", "icon");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Return a button that shows an icon; `label` is its accessible name. */
export function iconButton(name, label, onclick, className = "") {
  return element(
    "button",
    { type: "button", className: `icon-button ${className}`.trim(), title: label, "aria-label": label, onclick },
    icon(name),
  );
}

/** An error answer of the gateway with its message; `status` is 0 for no answer, `details` the answer's details. */
export class Refused extends Error {
  constructor(message, status = 0, details = {}) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

let xsrf = document.querySelector('meta[name="xsrf"]')?.content ?? "";

async function renewXsrf() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  const found = answer.ok && /<meta name="xsrf" content="([0-9a-f]*)">/.exec(await answer.text());
  if (found) xsrf = found[1];
  return Boolean(found);
}

/** Return the URL of a route. */
export const at = (path) => new URL(path.replace(/^\//, ""), BASE);

/** Send a request and return the response. `body`: an object is sent as JSON, else as it is. Throws `Refused`. */
export async function call(method, path, body, { signal, accept = "application/json" } = {}) {
  const plain = body !== undefined && Object.getPrototypeOf(body) !== Object.prototype && !Array.isArray(body);
  const send = () =>
    fetch(at(path), {
      method,
      signal,
      headers: {
        Accept: accept,
        "X-XSRFToken": xsrf,
        ...(body === undefined || plain ? {} : { "Content-Type": "application/json" }),
      },
      body: body === undefined || plain ? body : JSON.stringify(body),
    });
  let response;
  try {
    response = await send();
    // Another tab may have signed in again: the cookie then needs another XSRF token.
    if (response.status === 403 && method !== "GET" && (await renewXsrf())) response = await send();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The gateway does not answer.");
  }
  if (response.ok) return response;
  if (response.status === 401) askToSignIn();
  const told = await response.json().catch(() => ({}));
  throw new Refused(told.message ?? `The gateway answered ${response.status}.`, response.status, told.details ?? {});
}

/** Send a request and return the answer's JSON; `undefined` for an empty answer. Throws `Refused`. */
export async function api(method, path, body, options) {
  const text = await (await call(method, path, body, options)).text();
  return text ? JSON.parse(text) : undefined;
}

/** Show the sign-in form, which leads back to this page. */
export function askToSignIn() {
  location.assign(location.href.split("#")[0]); // without a valid cookie, the gateway answers every page with the form
}

let toasts;

/** Show a message in the corner; `kind` is "", "good" or "bad". An error ("bad") stays until it is closed. */
export function toast(text, kind = "good") {
  if (!toasts) {
    toasts = element("div", { className: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(toasts);
  }
  const note = element(
    "div",
    { className: `toast ${kind}` },
    icon(kind === "bad" ? "warning" : "check"),
    element("p", {}, String(text)),
  );
  const close = () => note.remove();
  note.append(iconButton("end", "Close", close));
  toasts.append(note);
  while (toasts.children.length > 4) toasts.firstChild.remove();
  if (kind !== "bad") setTimeout(close, 5000);
  return note;
}

/** Await `work()` and show its `Refused` error, if any; resolve to whether it succeeded. */
export async function attempt(work, success = "") {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    toast(error.message, "bad");
    return false;
  }
  if (success) toast(success);
  return true;
}

/** Ask for confirmation; resolve to the answer. Escape means no. */
export function confirm({ title, text, verb = "OK", danger = true }) {
  return new Promise((resolve) => {
    const no = element("button", { className: "button", value: "", autofocus: true }, "Cancel");
    const yes = element("button", { className: `button ${danger ? "solid-danger" : "primary"}`, value: "yes" }, verb);
    const dialog = element(
      "dialog",
      { "aria-labelledby": "dialog-title" },
      element(
        "form",
        { method: "dialog" },
        element("h2", { id: "dialog-title" }, title),
        ...[text].flat().map((line) => element("p", {}, line)),
        element("div", { className: "button-row" }, no, yes),
      ),
    );
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}

/** Make a `role=tablist` work by mouse, arrow keys and #hash; `onselect(name)` is called for each selected tab. */
export function tabs(list, onselect = () => {}) {
  const all = [...list.querySelectorAll('[role="tab"]')];
  const nameOf = (tab) => tab.getAttribute("aria-controls");
  const select = (tab, focus = false) => {
    for (const other of all) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(nameOf(other)).hidden = !chosen;
    }
    if (focus) tab.focus();
    onselect(nameOf(tab));
  };
  for (const tab of all) {
    tab.addEventListener("click", () => {
      select(tab);
      history.replaceState(null, "", tab === all[0] ? location.pathname + location.search : `#${nameOf(tab)}`);
    });
  }
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const now = all.indexOf(document.activeElement);
    if (step && now >= 0) select(all[(now + step + all.length) % all.length], true);
  });
  const wanted = () => all.find((tab) => `#${nameOf(tab)}` === location.hash) ?? all[0];
  addEventListener("hashchange", () => select(wanted()));
  select(wanted());
}

/** Copy a string, also over plain HTTP, where the browser has no clipboard API. */
export async function copy(text, source) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(source);
    document.execCommand("copy");
  }
  toast("Copied.");
}

function themeButton() {
  const root = document.documentElement;
  const button = iconButton("sun", "", () => {
    root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light";
    try {
      localStorage.setItem("sandkasten-theme", root.dataset.theme);
    } catch {
      /* it is forgotten with the page */
    }
    show();
    dispatchEvent(new Event("themechange"));
  });
  const show = () => {
    const next = root.dataset.theme === "light" ? "dark" : "light";
    button.title = `Use the ${next} theme`;
    button.setAttribute("aria-label", button.title);
    button.replaceChildren(icon(next === "light" ? "sun" : "moon"));
  };
  show();
  return button;
}

/** Fill the page's header: links, theme, sign out. Return the node for the state of the page's connection. */
export function frame(current) {
  const link = (name, path, title) =>
    element("a", { href: at(path).href, "aria-current": current === name ? "page" : null }, title);
  const live = element("span", { className: "live", role: "status" });
  document.querySelector("body > header").replaceChildren(
    element("a", { className: "skip", href: "#main" }, "Skip to the content"),
    element(
      "a",
      { className: "brand", href: BASE.href, "aria-label": "Sandkasten Kernels" },
      element("img", { src: at("static/icon.svg").href, alt: "" }),
      element("b", {}, "Sandkasten"),
      element("span", {}, "Kernels"),
    ),
    element("nav", { "aria-label": "Pages" }, link("status", "", "Status"), link("settings", "settings", "Settings")),
    element("div", { className: "spacer" }),
    live,
    themeButton(),
    iconButton("out", "Sign out", () =>
      attempt(async () => {
        await api("POST", "signout");
        location.assign(at("signin"));
      }),
    ),
  );
  return live;
}
