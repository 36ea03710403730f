// Who comes from a page of another site is signed in perhaps: browsers leave the cookie out then, and send it the next time.

const [arrival] = performance.getEntriesByType("navigation");
if (arrival?.type !== "reload" && !document.getElementById("message").textContent) {
  const answer = await fetch(new URL("../api/me", import.meta.url)).catch(() => null);
  if (answer?.ok) location.reload();
}
