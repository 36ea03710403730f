// Sets the last chosen theme before the first paint; dark without a choice.
try {
  document.documentElement.dataset.theme = localStorage.getItem("sandkasten-theme") === "light" ? "light" : "dark";
} catch {
  document.documentElement.dataset.theme = "dark"; // storage is disabled
}
