// The dialog that creates a session and opens its page.

import { api, at, attempt, element } from "./page.js";

export function createSession() {
  const images = element("select", { className: "select", id: "new-image" });
  const name = element("input", { className: "input", id: "new-name", maxLength: 100, autocomplete: "off" });
  const workspace = element("input", {
    className: "input",
    id: "new-workspace",
    autocomplete: "off",
    placeholder: "temporary, ends with the session",
    "aria-describedby": "new-error",
  });
  const error = element("p", { className: "error", id: "new-error", role: "alert" });
  const field = (label, input, ...more) =>
    element("div", { className: "field" }, element("label", { for: input.id }, label), input, ...more);
  const submit = element("button", { className: "button primary" }, "Create");
  const dialog = element(
    "dialog",
    { "aria-labelledby": "new-title" },
    element(
      "form",
      {
        onsubmit: async (event) => {
          event.preventDefault();
          submit.disabled = true;
          error.textContent = "";
          try {
            const made = await api("POST", "v1/sessions", {
              image: images.value,
              name: name.value,
              ...(workspace.value ? { workspace_id: workspace.value } : {}),
            });
            location.assign(at(`sessions/${made.id}`));
          } catch (refusal) {
            error.textContent = refusal.message;
            submit.disabled = false;
          }
        },
      },
      element("h2", { id: "new-title" }, "New session"),
      field("Image", images),
      field("Name", name),
      field("Workspace", workspace, error),
      element(
        "div",
        { className: "button-row" },
        element("button", { type: "button", className: "button", onclick: () => dialog.close() }, "Cancel"),
        submit,
      ),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  attempt(async () => {
    const { pool } = await api("GET", "v1/status");
    const known = [...new Set(pool.map((one) => one.image))];
    images.replaceChildren(
      ...known.map((image) => element("option", { value: image, selected: image === "python" }, image)),
    );
  });
}
