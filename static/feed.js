// The outputs of a sandbox by cell. Outputs are shown as text and pictures only, and bounded in number and size.

import { element } from "./page.js";
import { overwritten, terminal } from "./text.js";

const MAX_CELLS = 100;
const MAX_OUTPUTS = 50;
const MAX_TEXT = 100_000;
const MAX_PICTURE = 24 * 1024 * 1024;
const MAX_PICTURES = 128 * 1024 * 1024;
const MAX_DISPLAYS = 200;
const PICTURES = ["image/png", "image/jpeg"];
const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}\s*$/;

const joined = (value) => (Array.isArray(value) ? value.join("") : typeof value === "string" ? value : "");

/** One text output. It is drawn once a frame, and keeps only its end above a limit. */
class Text {
  constructor(className) {
    this.node = element("pre", { className });
    this.text = "";
    this.cut = false;
    this.due = false;
  }

  append(text) {
    this.text += text;
    if (this.text.length > 2 * MAX_TEXT) this.trim();
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => this.draw());
  }

  trim() {
    this.text = overwritten(this.text);
    if (this.text.length <= MAX_TEXT) return;
    this.text = this.text.slice(-MAX_TEXT);
    this.cut = true;
  }

  draw() {
    this.due = false;
    this.trim();
    const feed = this.node.closest(".feed");
    const follow = feed && feed.scrollHeight - feed.scrollTop - feed.clientHeight < 40;
    this.node.replaceChildren(
      ...(this.cut ? [element("span", { className: "faint" }, "… earlier output is not shown\n")] : []),
      ...terminal(this.text),
    );
    if (follow) feed.scrollTop = feed.scrollHeight;
  }
}

class Cell {
  constructor(feed, { prompt, code, who }) {
    this.feed = feed;
    this.began = performance.now();
    this.prompt = element("span", { className: "in mono" }, prompt);
    this.code = element("pre", { className: "code" }, code);
    this.status = element("span", { className: "faint small number" });
    this.outputs = element("div", { className: "outputs" });
    this.node = element(
      "article",
      { className: "cell" },
      element(
        "div",
        { className: "head" },
        this.prompt,
        this.code,
        element("span", { className: "by faint small" }, who, who ? " " : "", this.status),
      ),
      this.outputs,
    );
    this.last = null;
    this.clearing = false;
  }

  running() {
    this.node.dataset.state = "running";
    this.status.textContent = "running";
  }

  done(words = "", bad = false) {
    if (this.node.dataset.state === "done" && !words) return;
    this.node.dataset.state = "done";
    this.node.classList.toggle("bad", bad || this.node.classList.contains("bad"));
    const seconds = (performance.now() - this.began) / 1000;
    this.status.textContent = [words, seconds < 10 ? `${seconds.toFixed(2)} s` : `${Math.round(seconds)} s`]
      .filter(Boolean)
      .join(", ");
  }

  count(number) {
    if (number) this.prompt.textContent = `[${number}]`;
  }

  stream(name, text) {
    this.clearIfAsked();
    const className = name === "stderr" ? "stderr" : "stdout";
    if (this.last?.node.className !== className) this.put(new Text(className));
    this.last?.append(text);
  }

  put(output) {
    if (this.outputs.children.length >= MAX_OUTPUTS) {
      this.outputs.firstElementChild.remove();
      this.node.classList.add("cut");
    }
    this.outputs.append(output.node ?? output);
    this.last = output instanceof Text ? output : null;
  }

  /** Show a bundle of MIME types: a picture if there is one, else its text. */
  data(bundle, displayId) {
    this.clearIfAsked();
    const node = this.shown(bundle ?? {});
    if (displayId) this.feed.remember(displayId, node);
    this.put(node);
    this.feed.follow();
  }

  shown(bundle) {
    for (const type of PICTURES) {
      const data = joined(bundle[type]).trim();
      if (!data || data.length > MAX_PICTURE || !BASE64.test(data)) continue;
      const picture = element("img", { alt: joined(bundle["text/plain"]) || "picture", className: "picture" });
      picture.addEventListener("load", () => this.feed.follow());
      picture.src = `data:${type};base64,${data.replace(/\s/g, "")}`;
      this.feed.keep(picture, data.length);
      return picture;
    }
    const text = joined(bundle["text/plain"]);
    if (!text)
      return element(
        "p",
        { className: "faint small" },
        `(${Object.keys(bundle).join(", ").slice(0, 200) || "nothing"}: not shown here)`,
      );
    return element("pre", { className: "result" }, ...terminal(text.slice(0, MAX_TEXT)));
  }

  error({ ename, evalue, traceback }) {
    this.clearIfAsked();
    this.node.classList.add("bad");
    const text = Array.isArray(traceback) && traceback.length ? traceback.join("\n") : `${ename}: ${evalue}`;
    this.put(element("pre", { className: "error" }, ...terminal(String(text).slice(-MAX_TEXT))));
    this.feed.follow();
  }

  clear(wait) {
    this.clearing = true;
    if (!wait) this.clearIfAsked();
  }

  clearIfAsked() {
    if (!this.clearing) return;
    this.clearing = false;
    this.outputs.replaceChildren();
    this.last = null;
  }
}

/** The cells that the page has received, newest last. */
export class Feed {
  constructor(place) {
    this.place = place;
    this.cells = new Map();
    this.displays = new Map();
    this.pinned = true;
    place.addEventListener("scroll", () => {
      this.pinned = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
    });
    this.clear();
  }

  clear() {
    this.cells.clear();
    this.displays.clear();
    this.pictures = [];
    this.place.replaceChildren(
      element(
        "div",
        { className: "empty" },
        element("strong", {}, "No outputs yet"),
        "The outputs of all clients of this kernel appear here.",
      ),
    );
  }

  /** Keep a picture; drop the oldest ones above the limit. */
  keep(picture, size) {
    this.pictures.push({ picture, size });
    let total = this.pictures.reduce((sum, one) => sum + one.size, 0);
    while (total > MAX_PICTURES) {
      const [oldest] = this.pictures.splice(0, 1);
      total -= oldest.size;
      oldest.picture.replaceWith(element("p", { className: "faint small" }, "(an older picture, no longer kept)"));
    }
  }

  /** Remember an output by its display id: the kernel may update it later. */
  remember(displayId, node) {
    this.displays.delete(displayId);
    this.displays.set(displayId, node);
    if (this.displays.size > MAX_DISPLAYS) this.displays.delete(this.displays.keys().next().value);
  }

  follow() {
    if (this.pinned) this.place.scrollTop = this.place.scrollHeight;
  }

  /** Return the cell of a request; create it if it is unknown. */
  cell(id, { prompt = "[ ]", code = "", who = "" } = {}) {
    let cell = this.cells.get(id);
    if (cell) return cell;
    this.place.querySelector(":scope > .empty")?.remove();
    cell = new Cell(this, { prompt, code, who });
    this.cells.set(id, cell);
    this.place.append(cell.node);
    while (this.cells.size > MAX_CELLS) {
      const [[oldest, { node }]] = this.cells;
      node.remove();
      this.cells.delete(oldest);
    }
    this.follow();
    return cell;
  }

  /** Show an event of the session's shell for another client's command. */
  command(event, { id, cmd, stream, chunk }) {
    if (event === "begin") this.cell(id, { prompt: "$", code: joined(cmd), who: "another client" }).running();
    else if (event === "chunk") this.cells.get(id)?.stream(stream, joined(chunk));
    else this.cells.get(id)?.done();
  }

  /** Show a message of the kernel. */
  message({ header, parent_header: parent, content, channel }) {
    const id = parent?.msg_id;
    const type = header?.msg_type;
    if (!id || typeof content !== "object" || content === null) return;
    const known = this.cells.get(id);
    if (channel === "shell") {
      if (type === "execute_reply" && known) {
        known.count(content.execution_count);
        known.done(
          content.status === "ok" ? "" : content.status === "aborted" ? "not run" : "failed",
          content.status !== "ok",
        );
      }
      return;
    }
    if (channel !== "iopub") return;
    switch (type) {
      case "execute_input": {
        const cell = this.cell(id, { code: joined(content.code), who: "another client" });
        cell.count(content.execution_count);
        cell.running();
        break;
      }
      case "stream":
        this.cell(id, { prompt: "" }).stream(content.name, joined(content.text));
        break;
      case "display_data":
      case "execute_result":
        this.cell(id, { prompt: "" }).data(content.data, content.transient?.display_id);
        break;
      case "update_display_data": {
        const old = this.displays.get(content.transient?.display_id);
        if (!old || !known) break;
        const node = known.shown(content.data ?? {});
        old.replaceWith(node);
        this.remember(content.transient.display_id, node);
        break;
      }
      case "error":
        this.cell(id, { prompt: "" }).error(content);
        break;
      case "clear_output":
        known?.clear(content.wait);
        break;
      case "status":
        if (content.execution_state === "idle") known?.done();
        break;
      default:
    }
  }
}
