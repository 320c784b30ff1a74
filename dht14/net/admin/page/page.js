// The dashboard of one node. It asks the same server for JSON and for server-sent events, and for nothing else.

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const ID_BITS = 256;
const HISTORY = 120;

// The token comes in the fragment of the link, which no browser sends to a server.
const fragment = new URLSearchParams(location.hash.slice(1));
if (fragment.get("token")) {
  sessionStorage.setItem("dht14-token", fragment.get("token"));
  history.replaceState(null, "", location.pathname);
}
const token = () => sessionStorage.getItem("dht14-token") || "";

async function call(path, options = {}) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  return fetch(path, { ...options, headers: { ...headers, ...options.headers }, cache: "no-store" });
}

// Text

const short = (id) => (id ? `${id.slice(0, 8)}…` : "–");
const number = (count) => count.toLocaleString("en");
const many = (count, one, more) => `${number(count)} ${count === 1 ? one : more}`;
const milliseconds = (seconds) => (seconds < 0.01 ? `${(seconds * 1000).toFixed(1)} ms` : `${Math.round(seconds * 1000)} ms`);

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  for (; count >= 1024 && step < units.length - 1; step++) count /= 1024;
  return `${step && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[step]}`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

function put(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function svg(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// State

function showStatus(status) {
  document.title = `${status.ready ? "" : "✗ "}DHT-14 ${short(status.node_id)}`;
  put("role", status.role);
  put("node-id", status.node_id || "searching for its proof of work");
  const trouble = status.cut_off || (status.storage && status.storage.trouble);
  const badge = byId("badge");
  badge.className = `badge ${!status.ready ? "bad" : trouble || !status.joined ? "warn" : "ok"}`;
  put("badge", !status.ready ? "not ready" : trouble ? "in trouble" : status.joined ? "well" : "alone");
  put("advice", status.advice);
  put("contacts", number(status.contacts));
  networkSize = status.network_size;
  put("version", status.version);
  put("uptime", duration(status.uptime));
  const storage = status.storage;
  put("records", storage ? number(storage.records) : "none");
  byId("storage").hidden = !storage;
  if (storage) {
    byId("storage").value = storage.limit ? storage.used / storage.limit : 0;
    put("storage-note", `${bytes(storage.used)} of ${bytes(storage.limit)}`);
    put("share", bytes(storage.largest_share));
    const part = storage.limit ? (100 * storage.largest_share) / storage.limit : 0;
    put("share-note", `${part < 1 ? "under 1" : Math.round(part)} % of the store`);
  } else {
    put("storage-note", "a bootstrap node holds no values");
    put("share", "–");
    put("share-note", "");
  }
  showKept(status.kept);
  put("watches", number(status.watches.clients));
  put("watches-note", `of clients; watched keys: ${number(status.watches.keys)}; leases of other nodes: ` +
    number(status.watches.leases));
}

function showKept(kept) {
  put("kept", kept ? number(kept.values) : "none");
  const facts = !kept ? ["a bootstrap node keeps none"] : [
    kept.failing ? `${number(kept.failing)} could not be renewed` : kept.values ? "all renewed in time" : "none on the list",
    ...(kept.stopped ? [`${number(kept.stopped)} replaced or deleted`] : []),
  ];
  put("kept-note", facts.join("; "));
  byId("kept-note").classList.toggle("error", Boolean(kept && kept.failing));
}

const rates = [];
const failures = [];
let before = null;

function showTotals(totals, at) {
  if (before && at > before.at) {
    const seconds = at - before.at;
    const rate = (name) => Math.max(0, totals[name] - before.totals[name]) / seconds;
    const all = rate("received") + rate("sent");
    rates.push(all);
    if (rates.length > HISTORY) rates.shift();
    const shown = (value) => (value < 10 ? value.toFixed(1) : number(Math.round(value)));
    put("rate", shown(all));
    put("rate-note", `received ${shown(rate("received"))}, sent ${shown(rate("sent"))}, from clients ${shown(rate("api"))}`);
    failures.push(totals.failed);
    if (failures.length > HISTORY) failures.shift();
    put("drops", number(Math.max(0, totals.failed - failures[0])));
    put("drops-note", `in two minutes; since the start ${number(totals.failed)}, dropped ${number(totals.dropped)}, ` +
      `refused ${number(totals.refused)}`);
    drawRates();
  }
  before = { totals, at };
  put("latency", totals.p50 === null ? "–" : `≤ ${milliseconds(totals.p50)}`);
  const slowest = [["calls", totals.p99], ["clients", totals.api_p99], ["disk", totals.commit_p99]]
    .filter(([, bound]) => bound !== null).map(([what, bound]) => `${what}\u00a0≤\u00a0${milliseconds(bound)}`);
  put("latency-note", slowest.length ? `half of the calls; 99\u00a0% of ${slowest.join(", ")}` : "of no calls so far");
}

function drawRates() {
  const most = Math.max(1, ...rates);
  const line = byId("rate-line");
  line.setAttribute("viewBox", `0 0 ${HISTORY} 30`);
  line.setAttribute("preserveAspectRatio", "none");
  const points = rates.map((rate, n) => `${HISTORY - rates.length + n} ${29 - (28 * rate) / most}`);
  line.replaceChildren(svg("path", { d: `M${points.join("L")}` }));
}

// Contacts

let peers = [];
let networkSize = null;
let order = { by: "shared_bits", down: true };

function showPeers() {
  const sign = order.down ? -1 : 1;
  const sorted = [...peers].sort((a, b) => (a[order.by] > b[order.by] ? sign : a[order.by] < b[order.by] ? -sign : 0));
  const rows = sorted.map((peer) => {
    const row = document.createElement("tr");
    const id = element("code", short(peer.node_id));
    id.title = peer.node_id;
    const cell = document.createElement("td");
    cell.append(id);
    const host = peer.host.includes(":") ? `[${peer.host}]` : peer.host;
    row.append(cell, element("td", `${host}:${peer.port}`), element("td", peer.shared_bits, "number wide"),
      element("td", milliseconds(peer.rtt), "number"), element("td", `${duration(peer.last_seen)} ago`, "number wide"),
      element("td", peer.failures, peer.failures ? "number trouble" : "number"),
      element("td", peer.holds_values ? "yes" : "no", "wide"));
    return row;
  });
  document.querySelector("#peers tbody").replaceChildren(...rows);
  const failing = peers.filter((peer) => peer.failures).length;
  put("peers-note", peers.length ? "" : "No contacts yet. A node that is alone tries its seeds every few seconds.");
  put("contacts-note", (failing ? `${number(failing)} silent` : peers.length ? "all answer" : "") +
    (networkSize ? `; size of the network: about ${number(networkSize)}` : ""));
  for (const head of document.querySelectorAll("#peers th")) {
    const by = head.firstElementChild.dataset.sort;
    if (by === order.by) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  drawSpace();
}

for (const button of document.querySelectorAll("#peers th button")) {
  button.addEventListener("click", () => {
    order = { by: button.dataset.sort, down: order.by === button.dataset.sort ? !order.down : false };
    showPeers();
  });
}

// Key space

const HEIGHT = 240, MARGIN = 24, MIN_DEPTH = 5, MAX_DEPTH = 24;
let width = 1000;
let depth = MIN_DEPTH;
const marks = new Map();
let ownId = null;
let lines = null;

function sharedBits(a, b) {
  for (let n = 0; n < a.length; n += 8) {
    const different = (parseInt(a.slice(n, n + 8), 16) ^ parseInt(b.slice(n, n + 8), 16)) >>> 0;
    if (different) return n * 4 + Math.clz32(different);
  }
  return ID_BITS;
}

// A range of the id space is as wide as the range farther away, though it has half as many ids: so all are seen.
const column = (bits) => MARGIN + (bits / (depth + 1.5)) * (width - 2 * MARGIN);

function position(id) {
  const bits = Math.min(sharedBits(ownId, id), depth);
  const next = parseInt(id.slice(Math.floor((bits + 1) / 4), Math.floor((bits + 1) / 4) + 4).padEnd(4, "0"), 16);
  const part = ((next << ((bits + 1) % 4)) & 0xffff) / 0x10000;
  return { x: column(bits + 0.15 + 0.7 * part), y: MARGIN + (parseInt(id.slice(-4), 16) / 0x10000) * (HEIGHT - 3 * MARGIN) };
}

const ownPlace = () => ({ x: width - MARGIN, y: HEIGHT / 2 - MARGIN / 2 });

function drawSpace() {
  const space = byId("space");
  // One unit is one pixel at any width, so marks and letters keep their size on a phone.
  width = Math.max(space.clientWidth, 200);
  space.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  if (!ownId) return;
  const deepest = Math.max(0, ...peers.map((peer) => peer.shared_bits));
  depth = Math.min(Math.max(deepest, MIN_DEPTH), MAX_DEPTH);
  const axis = svg("g");
  axis.append(svg("line", { class: "axis", x1: MARGIN, x2: width - MARGIN, y1: HEIGHT - 26, y2: HEIGHT - 26 }));
  const every = Math.ceil(((depth + 1) * 28) / width);
  for (let bits = 0; bits <= depth; bits++) {
    axis.append(svg("line", { class: "grid", x1: column(bits), x2: column(bits), y1: MARGIN / 2, y2: HEIGHT - 26 }));
    if (bits % every) continue;
    const label = svg("text", { x: column(bits + 0.5), y: HEIGHT - 8, "text-anchor": "middle" });
    label.textContent = bits === MAX_DEPTH ? `${bits}+` : bits;
    axis.append(label);
  }
  marks.clear();
  const size = Math.max(2, Math.min(5, Math.sqrt((width * HEIGHT) / (25 * (peers.length + 1)))));
  const dots = svg("g");
  // What is in trouble is drawn last, on top of the others.
  for (const peer of [...peers].sort((a, b) => a.failures - b.failures || a.rtt - b.rtt)) {
    const { x, y } = position(peer.node_id);
    marks.set(peer.node_id, { x, y });
    const twice = 2 * size;
    const mark = peer.failures ? svg("path", { class: "bad", d: `M${x - size} ${y - size}l${twice} ${twice}m0-${twice}l-${twice} ${twice}` })
      : !peer.holds_values ? svg("circle", { class: "router", cx: x, cy: y, r: size })
        : peer.rtt > 0.2 ? svg("rect", { class: "slow", x: x - size, y: y - size, width: twice, height: twice })
          : svg("circle", { class: "ok", cx: x, cy: y, r: size });
    const title = svg("title");
    title.textContent = `${short(peer.node_id)} ${peer.host}:${peer.port}, ${milliseconds(peer.rtt)}`;
    mark.append(title);
    dots.append(mark);
  }
  const own = svg("circle", { class: "self", cx: ownPlace().x, cy: ownPlace().y, r: 8 });
  own.append(Object.assign(svg("title"), { textContent: "this node" }));
  lines ??= svg("g");
  space.replaceChildren(axis, lines, dots, own);
}

const place = (id) => marks.get(id) || (ownId && position(id));

function drawCall(step) {
  if (!ownId || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const from = step.named_by ? place(step.named_by) : ownPlace();
  const to = place(step.node_id);
  if (!from || !to || !lines) return;
  const bow = `M${from.x} ${from.y}Q${(from.x + to.x) / 2} ${Math.min(from.y, to.y) - 30} ${to.x} ${to.y}`;
  const line = svg("path", { class: step.outcome === "failed" ? "hop failed" : "hop", d: bow });
  lines.append(line);
  setTimeout(() => line.classList.add("fading"), 1500);
  setTimeout(() => line.remove(), 2600);
}

new ResizeObserver(drawSpace).observe(byId("space"));

function showLookup(lookup) {
  const list = byId("lookups");
  const item = element("li", `${lookup.kind} ${short(lookup.target)}: ${many(lookup.calls, "call", "calls")}, ${many(lookup.hops, "hop", "hops")}, ` +
    `${milliseconds(lookup.seconds)}${lookup.failed ? `, ${lookup.failed} failed` : ""}`);
  byId("lookups-none").hidden = true;
  list.prepend(item);
  while (list.children.length > 6) list.lastElementChild.remove();
}

// Values

function explain(response, content) {
  const line = element("p", `${response.status}: ${content.error || response.statusText}. ${content.hint || ""}`, "error");
  byId("result").replaceChildren(line);
}

function table(heads, rows) {
  const made = document.createElement("table");
  const head = document.createElement("tr");
  head.append(...heads.map((text) => element("th", text)));
  made.createTHead().append(head);
  const body = made.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    for (const cell of cells) row.insertCell().append(cell);
  }
  const scroll = element("div", undefined, "scroll");
  scroll.append(made);
  return scroll;
}

function bar(step, total) {
  const made = element("div", undefined, "bar");
  const part = element("span", undefined, step.outcome === "failed" ? "failed" : "");
  const end = step.ended_at === null ? total : step.ended_at;
  part.style.left = `${(100 * step.sent_at) / total}%`;
  part.style.width = `${(100 * (end - step.sent_at)) / total}%`;
  made.append(part);
  return made;
}

// Versions have up to 63 bits, and numbers of this language 53: they become texts, or two versions could look the same.
function withVersions(json) {
  return JSON.parse(json.replace(/"version": (\d+)/g, '"version": "$1"'));
}

const actions = {
  async get(key) {
    const began = performance.now();
    const response = await call(`v1/values/${encodeURIComponent(key)}`);
    if (!response.ok) return explain(response, await response.json());
    const raw = new Uint8Array(await response.arrayBuffer());
    const text = new TextDecoder().decode(raw.slice(0, 4096));
    const head = response.headers;
    byId("result").replaceChildren(
      element("p", `${bytes(raw.length)} in ${Math.round(performance.now() - began)} ms; ${head.get("X-DHT14-Kind")} record, ` +
        `expires in ${duration(Number(head.get("X-DHT14-Expires-In")))}.`), element("pre", text));
  },
  async put(key, value) {
    const response = await call(`v1/values/${encodeURIComponent(key)}`, { method: "PUT", body: value });
    const content = await response.json();
    if (!response.ok) return explain(response, content);
    byId("result").replaceChildren(element("p", `Stored on ${content.stored} of ${content.wanted} ${content.wanted === 1 ? "node" : "nodes"}.`));
  },
  async trace(key) {
    const response = await call(`v1/trace/${encodeURIComponent(key)}`);
    const content = await response.json();
    if (!response.ok) return explain(response, content);
    content.steps.forEach(drawCall);
    const rows = content.steps.map((step) => [element("code", short(step.node_id)), `${step.host}:${step.port}`, step.request,
      String(step.hop), step.named_by ? short(step.named_by) : "own table", step.outcome, bar(step, content.seconds),
      step.ended_at === null ? "–" : milliseconds(step.ended_at - step.sent_at)]);
    byId("result").replaceChildren(
      element("p", `${content.outcome} after ${milliseconds(content.seconds)}, ${many(content.steps.length, "call", "calls")}, ${many(content.hops, "hop", "hops")}.`),
      table(["Node", "Address", "Asked", "Hop", "Named by", "Outcome", "When", "Took"], rows));
  },
  async locate(key) {
    const response = await call(`v1/locate/${encodeURIComponent(key)}`);
    const content = withVersions(await response.text());
    if (!response.ok) return explain(response, content);
    const rows = content.holders.map((holder) => [element("code", short(holder.node_id)), `${holder.host}:${holder.port}`, holder.this_node ? `${holder.outcome} (this node)` : holder.outcome,
      holder.kind || "–", holder.bytes === null ? "–" : bytes(holder.bytes),
      holder.expires_in === null ? "–" : duration(holder.expires_in), String(holder.version ?? "–")]);
    byId("result").replaceChildren(table(["Node", "Address", "Says", "Kind", "Size", "Expires in", "Version"], rows));
  },
};

byId("value-form").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const action = submitted.submitter ? submitted.submitter.value : "get";
  byId("result").replaceChildren(element("p", "Asking…"));
  try {
    await actions[action](byId("key").value, byId("value").value);
  } catch (error) {
    byId("result").replaceChildren(element("p", `The node cannot be reached: ${error.message}`, "error"));
  }
});

// Events

const handlers = {
  status(content) {
    ownId = content.status.node_id;
    showStatus(content.status);
    showTotals(content.totals, content.at);
  },
  peers(content) {
    peers = content.peers;
    showPeers();
  },
  call: drawCall,
  lookup: showLookup,
};

async function listen() {
  const response = await call("v1/events");
  if (response.status === 401) return askForToken(token() ? "The node does not accept this token." : "");
  if (!response.ok) throw new Error(`status ${response.status}`);
  byId("token-form").hidden = true;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the stream has ended");
    const parts = (pending + value).split("\n\n");
    pending = parts.pop();
    for (const part of parts) {
      const kind = /^event: (.*)$/m.exec(part);
      const data = /^data: (.*)$/m.exec(part);
      if (kind && data && handlers[kind[1]]) handlers[kind[1]](JSON.parse(data[1]));
    }
  }
}

function askForToken(message) {
  byId("token-form").hidden = false;
  put("token-error", message);
  followWithoutToken();
}

byId("token-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  sessionStorage.setItem("dht14-token", byId("token").value.trim());
  follow();
});

// Without the token there is less to see: status and contacts, asked for once a second.
let polling = false;

async function followWithoutToken() {
  if (polling) return;
  polling = true;
  while (!byId("token-form").hidden) {
    try {
      const status = await (await call("v1/status")).json();
      ownId = status.node_id;
      showStatus(status);
      peers = (await (await call("v1/peers")).json()).peers;
      showPeers();
    } catch (error) {
      showLost(error);
    }
    await new Promise((wake) => setTimeout(wake, 1000));
  }
  polling = false;
}

function showLost(error) {
  byId("badge").className = "badge bad";
  put("badge", "no connection");
  put("advice", `The node does not answer (${error.message}). Trying again.`);
}

async function follow() {
  for (;;) {
    try {
      await listen();
      return;
    } catch (error) {
      showLost(error);
      await new Promise((wake) => setTimeout(wake, 2000));
    }
  }
}

follow();
