// The workspaces tab. The gateway counts sizes when the tab is opened, and now and then while it is.

import { titleOf } from "./actions.js";
import { Files } from "./files.js";
import { bytes, moment } from "./format.js";
import { api, at, attempt, confirm, element, icon, iconButton } from "./page.js";

const AGAIN_MS = 15_000;

export class WorkspaceList {
  constructor(place) {
    this.sessions = new Map();
    this.looked = false;
    this.body = element("tbody", {});
    this.empty = element("div", { className: "empty" });
    this.table = element(
      "table",
      { className: "table workspaces", hidden: true },
      element("caption", { className: "visually-hidden" }, "Workspaces"),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          ...["Workspace", "Size", "Used by", "Created"].map((title) =>
            element("th", { scope: "col", className: title === "Size" ? "right" : "" }, title),
          ),
          element("th", { scope: "col" }, element("span", { className: "visually-hidden" }, "Actions")),
        ),
      ),
      this.body,
    );
    place.append(
      element(
        "div",
        { className: "toolbar" },
        element("p", { className: "faint" }, "Directories that outlive their sessions."),
        element("div", { className: "spacer" }),
        iconButton("refresh", "Count again", () => this.load()),
      ),
      element("div", { className: "table-wrap" }, this.table),
      this.empty,
    );
  }

  know(sessions) {
    this.sessions = sessions;
  }

  /** Start or stop the updates, as the tab is shown or hidden. */
  look(looked) {
    this.looked = looked;
    clearTimeout(this.timer);
    if (looked) this.load();
  }

  async load() {
    clearTimeout(this.timer);
    if (!document.hidden) {
      try {
        this.show((await api("GET", "v1/workspaces")).workspaces);
      } catch (error) {
        this.empty.hidden = false;
        this.empty.replaceChildren(error.message);
      }
    }
    if (this.looked) this.timer = setTimeout(() => this.load(), AGAIN_MS);
  }

  show(workspaces) {
    this.table.hidden = !workspaces.length;
    this.empty.hidden = Boolean(workspaces.length);
    if (!workspaces.length)
      this.empty.replaceChildren(
        element("strong", {}, "There is no workspace"),
        "A session that names a workspace creates it.",
      );
    this.body.replaceChildren(...workspaces.map((workspace) => this.row(workspace)));
  }

  row(workspace) {
    const { id, size_mb: size, size_complete: complete, session_ids: users } = workspace;
    const link = (session) =>
      element("a", { href: at(`sessions/${session}`).href }, titleOf(this.sessions.get(session) ?? { id: session }));
    const used = users.flatMap((user, index) => (index ? [", ", link(user)] : [link(user)]));
    const remove = iconButton("trash", `Delete ${id}`, () => this.remove(workspace), "danger");
    remove.disabled = users.length > 0;
    if (remove.disabled) remove.title = "In use: end its sessions first";
    return element(
      "tr",
      {},
      element("th", { scope: "row", className: "mono", "data-label": "Workspace" }, id),
      element(
        "td",
        { className: "right", "data-label": "Size", title: complete ? "" : "the count is not complete" },
        `${complete ? "" : "≥ "}${bytes(size * 2 ** 20)}`,
      ),
      element(
        "td",
        { "data-label": "Used by", className: users.length ? "" : "faint" },
        ...(users.length ? used : ["nobody"]),
      ),
      element("td", { "data-label": "Created" }, moment(workspace.created_at)),
      element(
        "td",
        {},
        element(
          "div",
          { className: "actions" },
          iconButton("folder", `Browse ${id}`, () => this.browse(id)),
          element(
            "a",
            {
              className: "icon-button",
              href: at(`v1/workspaces/${id}/fs/download`).href,
              download: `${id}.tar`,
              title: "Download as tar",
              "aria-label": `Download ${id}`,
            },
            icon("download"),
          ),
          remove,
        ),
      ),
    );
  }

  browse(id) {
    const body = element("div", { className: "dialog-body" });
    const dialog = element("dialog", { className: "wide", "aria-labelledby": "browse-title" }, body);
    const place = element("div", {});
    body.append(
      element(
        "div",
        { className: "page-title" },
        element("h2", { id: "browse-title" }, "Workspace ", element("span", { className: "mono" }, id)),
        element("div", { className: "spacer" }),
        iconButton("end", "Close", () => dialog.close()),
      ),
      place,
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      this.load();
    });
    document.body.append(dialog);
    dialog.showModal();
    new Files(place, `v1/workspaces/${id}`).open("");
  }

  async remove({ id, size_mb: size }) {
    const text = `This deletes all its files (${bytes(size * 2 ** 20)}). It cannot be undone.`;
    if (!(await confirm({ title: `Delete workspace ${id}?`, text, verb: "Delete workspace" }))) return;
    await attempt(() => api("DELETE", `v1/workspaces/${id}`), `Deleted workspace ${id}.`);
    await this.load();
  }
}
