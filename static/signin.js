// A link on another site leads here without the cookie (SameSite=Strict), also when the user is signed in: load the
// page again, with the cookie.

const [arrival] = performance.getEntriesByType("navigation");
if (arrival?.type !== "reload" && !document.getElementById("message").textContent) {
  const answer = await fetch(new URL("../api/me", import.meta.url)).catch(() => null);
  if (answer?.ok) location.reload();
}
