// The WebSocket of a kernel. It reconnects after a loss and then gets the messages it has missed.

import { BASE } from "./page.js";

const RETRY_MS = [300, 1000, 2000, 3000];
const HIDDEN_MS = 60_000;
const GONE = 1001;

const newId = () =>
  crypto.randomUUID
    ? crypto.randomUUID()
    : Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Return the JSON of a binary frame: a count, offsets of 4 bytes each, the JSON, buffers. Buffers are ignored. */
function textOf(buffer) {
  const view = new DataView(buffer);
  const begin = view.getUint32(4);
  const end = view.getUint32(0) > 1 ? view.getUint32(8) : buffer.byteLength;
  return new TextDecoder().decode(new Uint8Array(buffer, begin, end - begin));
}

/** Callbacks: `onmessage(message)`, `onstate("live" | "lost")`, `ongone(reason)` when the kernel has ended for good. */
export class KernelSocket {
  constructor(id, { onmessage, onstate, ongone }) {
    Object.assign(this, {
      id,
      onmessage,
      onstate,
      ongone,
      session: newId(),
      failures: 0,
      socket: null,
      closed: false,
      timer: 0,
    });
    document.addEventListener("visibilitychange", () => this.follow());
    this.open();
  }

  /** Disconnect a page that has been hidden for a while, so that it does not keep its session in use. */
  follow() {
    clearTimeout(this.resting);
    if (document.hidden) {
      this.resting = setTimeout(() => {
        clearTimeout(this.timer);
        this.socket?.close();
        this.socket = null;
      }, HIDDEN_MS);
    } else if (!this.socket && !this.closed) this.open();
  }

  open() {
    clearTimeout(this.timer);
    const url = new URL(`api/kernels/${this.id}/channels?session_id=${this.session}`, BASE);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.failures = 0;
      this.onstate("live");
    };
    socket.onmessage = ({ data }) => {
      let message;
      try {
        message = JSON.parse(typeof data === "string" ? data : textOf(data));
      } catch {
        return; // not a Jupyter message
      }
      this.onmessage(message);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket !== this.socket) return;
      this.socket = null;
      if (code === GONE) {
        this.stop();
        this.ongone(reason);
        return;
      }
      this.onstate("lost");
      this.timer = setTimeout(
        () => !this.closed && this.open(),
        RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)],
      );
      this.failures += 1;
    };
  }

  stop() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket?.close();
    this.socket = null;
  }

  /** Send a request; return its id, undefined without a connection. */
  send(type, content, channel = "shell") {
    if (this.socket?.readyState !== WebSocket.OPEN) return undefined;
    const id = newId();
    const header = {
      msg_id: id,
      msg_type: type,
      session: this.session,
      username: "page",
      date: new Date().toISOString(),
      version: "5.3",
    };
    this.socket.send(JSON.stringify({ header, parent_header: {}, metadata: {}, content, channel, buffers: [] }));
    return id;
  }

  execute(code) {
    return this.send("execute_request", {
      code,
      silent: false,
      store_history: true,
      user_expressions: {},
      allow_stdin: false,
      stop_on_error: true,
    });
  }
}
