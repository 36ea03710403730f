// A stream of server-sent events that reports a lost connection and reconnects.

import { askToSignIn, at } from "./page.js";

const SILENCE_MS = 6000;
const RETRY_MS = [500, 1000, 2000, 3000];

/**
 * Listen to the server-sent events of a route while the page is visible.
 *
 * `handlers`: functions by event name, called with the parsed data and the id. `onstate("live" | "lost")` is called
 * when this changes. `silence`: after so many milliseconds without an event the connection counts as lost; 0: never.
 */
export class Live {
  constructor(path, handlers, onstate, { silence = SILENCE_MS } = {}) {
    Object.assign(this, {
      path,
      handlers,
      onstate,
      silence,
      state: "",
      source: null,
      failures: 0,
      timer: 0,
      wanted: false,
    });
    document.addEventListener("visibilitychange", () => this.follow());
    addEventListener("offline", () => this.source && this.lost());
    addEventListener("online", () => this.wanted && this.open());
  }

  start() {
    this.wanted = true;
    this.follow();
  }

  stop() {
    this.wanted = false;
    this.follow();
  }

  /** Disconnect a hidden page: a browser has six connections for each gateway. */
  follow() {
    const looked = this.wanted && !document.hidden;
    if (looked && !this.source) this.open();
    if (!looked) this.close();
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  open() {
    this.close();
    const source = new EventSource(at(typeof this.path === "function" ? this.path() : this.path));
    this.source = source;
    for (const [name, handler] of Object.entries(this.handlers)) {
      source.addEventListener(name, (event) => {
        if (source !== this.source) return;
        this.heard();
        handler(JSON.parse(event.data), event.lastEventId);
      });
    }
    source.addEventListener("open", () => source === this.source && this.heard());
    source.addEventListener("error", () => source === this.source && this.lost());
    this.watch();
  }

  heard() {
    this.failures = 0;
    this.say("live");
    this.watch();
  }

  watch() {
    clearTimeout(this.timer);
    if (this.silence) this.timer = setTimeout(() => this.lost(), this.silence);
  }

  async lost() {
    this.close();
    this.say("lost");
    const wait = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => this.wanted && !document.hidden && this.open(), wait);
    const answer = await fetch(at("api/me"), { signal: AbortSignal.timeout(SILENCE_MS) }).catch(() => null);
    if (answer?.status === 401) askToSignIn();
  }

  say(state) {
    if (state === this.state) return;
    this.state = state;
    this.onstate(state);
  }
}
