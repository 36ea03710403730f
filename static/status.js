const REFRESH_MS = 1000;
const BASE = new URL("..", import.meta.url);
const byId = (id) => document.getElementById(id);

function fill(body, rows) {
  body.replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    }));
    return row;
  }));
}

async function json(path) {
  const response = await fetch(new URL(path, BASE), { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(response.status === 401
    ? "the token is not valid any more: open the URL that the gateway printed at its last start"
    : `the gateway answers ${response.status}`);
  return response.json();
}

async function refresh() {
  try {
    const [status, kernels] = await Promise.all([json("api/status"), json("api/kernels")]);
    byId("state").textContent = `up since ${new Date(status.started).toLocaleString()}, `
      + `${status.kernels} kernels, ${status.connections} connections`;
    fill(byId("pool"), status.pool.map((p) =>
      [p.kernelspec, p.image, `${p.warm} of ${p.target}`, p.starting, p.claimed, p.hits, p.misses]));
    fill(byId("kernels"), kernels.map((k) =>
      [k.id.slice(0, 8), k.execution_state, k.name, k.connections, new Date(k.last_activity).toLocaleString()]));
    document.body.classList.remove("stale");
    byId("no-kernels").hidden = kernels.length > 0;
  } catch (error) {
    document.body.classList.add("stale");
    byId("state").textContent = error instanceof TypeError
      ? "the gateway does not answer; trying again, what stands below is old" : error.message;
  }
}

async function run() {
  byId("lab").textContent = `jupyter lab --gateway-url=${BASE.href.replace(/\/$/, "")} --GatewayClient.auth_token=TOKEN`;
  for (;;) {
    await refresh();
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 5 * REFRESH_MS : REFRESH_MS));
  }
}

run();
