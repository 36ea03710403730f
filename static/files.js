// The files of a session or a workspace: list, download, upload, remove.

import { bytes, moment } from "./format.js";
import { api, at, attempt, call, confirm, element, icon, iconButton, toast } from "./page.js";

const query = (path) => `path=${encodeURIComponent(path)}`;

/** A browser of files; `root` is the route of their session or workspace, as in `v1/sessions/ID`. */
export class Files {
  constructor(place, root) {
    this.root = root;
    this.path = "";
    this.crumbs = element("nav", { className: "crumbs", "aria-label": "Directory" });
    this.list = element("ul", { className: "files" });
    this.note = element("p", { className: "faint small", role: "status" });
    this.picker = element("input", {
      type: "file",
      multiple: true,
      hidden: true,
      onchange: () => this.upload([...this.picker.files]),
    });
    this.drop = element("div", { className: "drop" }, this.list, this.note);
    place.append(
      element(
        "div",
        { className: "files-head" },
        this.crumbs,
        element("div", { className: "spacer" }),
        iconButton("upload", "Upload files", () => this.picker.click()),
        iconButton("plus", "New directory", () => this.makeDirectory()),
        iconButton("refresh", "Look again", () => this.open(this.path)),
      ),
      this.picker,
      this.drop,
    );
    this.drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.drop.classList.add("over");
    });
    this.drop.addEventListener("dragleave", () => this.drop.classList.remove("over"));
    this.drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.drop.classList.remove("over");
      this.upload([...event.dataTransfer.files]);
    });
  }

  url(name) {
    return at(`${this.root}/fs/download?${query(this.join(name))}`).href;
  }

  join(name) {
    return this.path ? `${this.path}/${name}` : name;
  }

  /** List a directory; `path` is relative to /workspace. */
  async open(path) {
    let found;
    try {
      found = await api("GET", `${this.root}/fs?${query(path)}`);
    } catch (error) {
      this.note.textContent = error.message;
      this.list.replaceChildren();
      if (path) this.crumb();
      return;
    }
    this.path = path;
    this.crumb();
    const entries = found.entries.sort((a, b) => b.is_dir - a.is_dir || a.name.localeCompare(b.name));
    this.list.replaceChildren(...entries.map((entry) => this.entry(entry)));
    this.note.textContent = found.truncated
      ? "The directory has more entries than are listed."
      : entries.length
        ? ""
        : "Empty. Drop files here, or upload them.";
  }

  crumb() {
    const parts = this.path.split("/").filter(Boolean);
    const button = (text, path) =>
      element("button", { type: "button", className: "link mono", onclick: () => this.open(path) }, text);
    this.crumbs.replaceChildren(
      button("/workspace", ""),
      ...parts.flatMap((part, index) => ["/", button(part, parts.slice(0, index + 1).join("/"))]),
    );
  }

  entry(entry) {
    const title = `${entry.kind ?? ""} ${entry.modified ? moment(entry.modified) : ""}`.trim();
    const name = entry.is_dir
      ? element(
          "button",
          { type: "button", className: "link name truncate", onclick: () => this.open(this.join(entry.name)), title },
          entry.name,
        )
      : entry.kind === "file" || !entry.kind
        ? element(
            "a",
            { className: "name truncate", href: this.url(entry.name), download: entry.name, title },
            entry.name,
          )
        : element("span", { className: "name truncate faint", title }, entry.name);
    return element(
      "li",
      {},
      icon(entry.is_dir ? "folder" : "file"),
      name,
      element("span", { className: "faint small number" }, entry.is_dir ? "" : bytes(entry.size)),
      element(
        "a",
        {
          className: "icon-button",
          href: this.url(entry.name),
          download: entry.is_dir ? `${entry.name}.tar` : entry.name,
          title: entry.is_dir ? "Download as tar" : "Download",
          "aria-label": `Download ${entry.name}`,
        },
        icon("download"),
      ),
      iconButton("trash", `Remove ${entry.name}`, () => this.remove(entry), "danger"),
    );
  }

  async remove(entry) {
    const text = entry.is_dir ? "Only an empty directory can be removed." : "This cannot be undone.";
    if (!(await confirm({ title: `Remove ${entry.name}?`, text, verb: "Remove" }))) return;
    await attempt(() => api("DELETE", `${this.root}/fs?${query(this.join(entry.name))}`), `Removed ${entry.name}.`);
    await this.open(this.path);
  }

  makeDirectory() {
    const name = element("input", { className: "input", id: "directory-name", required: true, autocomplete: "off" });
    const dialog = element(
      "dialog",
      { "aria-labelledby": "directory-title" },
      element(
        "form",
        { method: "dialog" },
        element("h2", { id: "directory-title" }, "New directory"),
        element("div", { className: "field" }, element("label", { for: name.id }, "Name"), name),
        element(
          "div",
          { className: "button-row" },
          element("button", { type: "button", className: "button", onclick: () => dialog.close() }, "Cancel"),
          element("button", { className: "button primary", value: "yes" }, "Make"),
        ),
      ),
    );
    dialog.addEventListener("close", async () => {
      dialog.remove();
      if (dialog.returnValue !== "yes") return;
      await attempt(() => api("POST", `${this.root}/fs/mkdir`, { path: this.join(name.value) }));
      await this.open(this.path);
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  async upload(files) {
    if (!files.length) return;
    const form = new FormData();
    form.append("path", this.path || "/workspace");
    for (const file of files) form.append("file", file, file.name);
    this.note.textContent = `Uploading ${files.length === 1 ? files[0].name : `${files.length} files`}…`;
    const done = await attempt(() => call("POST", `${this.root}/fs/upload`, form));
    this.picker.value = "";
    if (done) toast(files.length === 1 ? `Uploaded ${files[0].name}.` : `Uploaded ${files.length} files.`);
    await this.open(this.path);
  }
}
