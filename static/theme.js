// Before anything is drawn: the theme that was chosen here last. Dark, where none was.
try {
  document.documentElement.dataset.theme = localStorage.getItem("sandkasten-theme") === "light" ? "light" : "dark";
} catch {
  document.documentElement.dataset.theme = "dark"; // storage is switched off
}
