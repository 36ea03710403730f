// The events tab: a live list of the events of sessions, newest first.

import { moment, shortId } from "./format.js";
import { Live } from "./live.js";
import { api, at, element } from "./page.js";

const MAX_SHOWN = 500;
const BAD = new Set(["died", "unresponsive", "refused"]);
const SANDBOXES = new Set(["created", "removed"]); // events of a sandbox that has no session
const GOOD = new Set(["created", "claimed", "adopted"]);

export class EventList {
  constructor(place) {
    this.last = 0;
    this.first = true;
    this.kind = element(
      "select",
      { className: "select", "aria-label": "Kind of event", onchange: () => this.filter() },
      element("option", { value: "" }, "All events"),
    );
    this.list = element("ol", { className: "events" });
    this.empty = element("div", { className: "empty" }, element("strong", {}, "No events yet"));
    place.append(element("div", { className: "toolbar" }, this.kind), this.list, this.empty);
    this.live = new Live(
      () => `v1/events?since=${this.last}`,
      { event: (event) => this.add([event]) },
      () => {},
      { silence: 0 },
    );
  }

  /** Start or stop the stream of events, as the tab is shown or hidden. */
  look(looked) {
    if (!looked) {
      this.live.stop();
      return;
    }
    if (this.first) this.begin();
    else this.live.start();
  }

  async begin() {
    this.first = false;
    try {
      const { events, last } = await api("GET", `v1/events?limit=${MAX_SHOWN}`);
      this.last = last;
      this.add(events);
      this.live.start();
    } catch (error) {
      this.first = true;
      this.empty.replaceChildren(element("strong", {}, error.message));
    }
  }

  /** Add events, oldest first, at the top. */
  add(events) {
    for (const event of events) {
      if (event.id <= this.last && this.list.querySelector(`[data-event="${Number(event.id)}"]`)) continue;
      this.last = Math.max(this.last, event.id);
      if (![...this.kind.options].some((option) => option.value === event.kind))
        this.kind.append(element("option", { value: event.kind }, event.kind));
      const node = this.item(event);
      node.hidden = Boolean(this.kind.value) && this.kind.value !== event.kind;
      this.list.prepend(node);
    }
    while (this.list.children.length > MAX_SHOWN) this.list.lastElementChild.remove();
    this.empty.hidden = this.list.children.length > 0;
  }

  item({ id, time, kind, session_id: session, reason, details }) {
    const state = BAD.has(kind) ? "bad" : GOOD.has(kind) ? "good" : "";
    const name = details?.name || (session ? shortId(session) : "");
    const more = Object.entries(details ?? {})
      .filter(([key, value]) => key !== "name" && value !== null && value !== "")
      .map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`);
    return element(
      "li",
      { "data-event": id, "data-kind": kind },
      element("time", { className: "faint number", datetime: time }, moment(time)),
      element("span", { className: "state kind", "data-state": state }, kind),
      element(
        "span",
        { className: "what" },
        session && SANDBOXES.has(kind)
          ? element("span", { className: "mono soft" }, name)
          : session
            ? element("a", { href: at(`sessions/${session}`).href }, name)
            : null,
        reason ? element("span", {}, reason) : null,
        more.length ? element("span", { className: "faint small" }, more.join(" · ")) : null,
      ),
    );
  }

  filter() {
    for (const node of this.list.children)
      node.hidden = Boolean(this.kind.value) && node.dataset.kind !== this.kind.value;
  }
}
