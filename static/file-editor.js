// The editor of the file: its text with line numbers, and the errors by line.

import { element } from "./page.js";

const byId = (id) => document.getElementById(id);

export class FileEditor {
  constructor(onchange) {
    this.area = byId("text");
    this.gutter = byId("gutter");
    this.errors = byId("text-errors");
    this.saved = "";
    this.wrong = new Set();
    this.area.addEventListener("input", () => {
      this.number();
      onchange();
    });
    this.area.addEventListener("scroll", () => {
      this.gutter.scrollTop = this.area.scrollTop;
    });
    this.area.addEventListener("keydown", (event) => {
      if (event.key !== "Tab" || event.shiftKey || this.area.readOnly || event.ctrlKey || event.altKey || this.leaving)
        return;
      event.preventDefault();
      document.execCommand("insertText", false, "  "); // unlike an assignment to `value`, this can be undone
    });
    this.area.addEventListener("keyup", (event) => {
      this.leaving = event.key === "Escape";
    }); // Escape then Tab leaves the editor
  }

  get changed() {
    return this.area.value !== this.saved;
  }

  get text() {
    return this.area.value;
  }

  show(text, readOnly) {
    this.saved = (text ?? "").replace(/\r\n?/g, "\n"); // a textarea has \n only
    this.area.value = this.saved;
    this.lock(readOnly);
    this.tell([]);
  }

  lock(readOnly) {
    this.area.readOnly = readOnly;
  }

  number() {
    const lines = this.area.value.split("\n").length;
    this.gutter.replaceChildren(
      ...Array.from({ length: lines }, (_, index) =>
        element("span", { className: this.wrong.has(index + 1) ? "wrong" : "" }, `${index + 1}\n`),
      ),
    );
    this.gutter.scrollTop = this.area.scrollTop;
  }

  /** Show errors: a list of `{name, line, message}`. */
  tell(errors) {
    this.wrong = new Set(errors.map((error) => error.line));
    this.number();
    this.area.closest(".editor").toggleAttribute("data-wrong", errors.length > 0);
    if (errors.length) this.area.setAttribute("aria-invalid", "true");
    else this.area.removeAttribute("aria-invalid");
    this.errors.replaceChildren(
      ...errors.map((error) => {
        const words = `${error.name ? `${error.name}: ` : ""}${error.message}`;
        const text = error.line ? `Line ${error.line}: ${words}` : words;
        return element("li", {}, element("button", { type: "button", onclick: () => this.goTo(error.line) }, text));
      }),
    );
  }

  goTo(line) {
    this.area.focus();
    if (!line) return;
    const lines = this.area.value.split("\n");
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    this.area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    this.area.scrollTop = Math.max(0, (line - 5) * parseFloat(getComputedStyle(this.area).lineHeight));
  }
}
