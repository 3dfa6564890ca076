// The smallest complete client of the agent socket: it resumes by cursor after any drop.
const $ = (selector) => document.querySelector(selector);
const api = "/api/v1";
let access = null;
let socket = null;
let run = null; // {id, after, steps, tools, answer, box}
let conversation = null;
let retryMs = 250;

async function call(path, options = {}) {
  const headers = { "content-type": "application/json", ...(access ? { authorization: `Bearer ${access}` } : {}) };
  const response = await fetch(api + path, { ...options, headers, credentials: "omit" });
  const body = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(body.errors?.[0]?.detail ?? body.detail);
  return body;
}

function element(kind, className, text = "") {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = text;
  return made;
}

function show(node) {
  $("#log").append(node);
  node.scrollIntoView({ block: "nearest" });
  return node;
}

$("#sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const alert = form.querySelector("[role=alert]");
  try {
    const fields = Object.fromEntries(new FormData(form));
    const pair = await call("/auth/login", { method: "POST", body: JSON.stringify(fields) });
    access = pair.access;
    keepFresh(pair);
    await open(pair.user);
  } catch (error) {
    alert.textContent = error.message;
    alert.hidden = false;
  }
});

function keepFresh(pair) {
  const dueMs = Math.max(new Date(pair.access_expires_at) - Date.now() - 60_000, 5_000);
  setTimeout(async () => {
    const next = await call("/auth/refresh", { method: "POST", body: JSON.stringify({ refresh: pair.refresh }) });
    access = next.access;
    keepFresh(next);
  }, dueMs);
}

async function open(user) {
  const [workspaces, agents] = await Promise.all([call("/workspaces"), call("/agents")]);
  fill($("#workspace"), workspaces.items, (item) => item.name);
  fill($("#agent"), agents.items, (item) => item.name);
  $("#who").textContent = user.email;
  $("#sign-in").hidden = true;
  $("#chat").hidden = false;
  connect();
}

function fill(select, items, label) {
  select.replaceChildren(...items.map((item) => new Option(label(item), item.id)));
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}${api}/ws/agents`, ["mundial.v1", `bearer.${access}`]);
  socket.onopen = () => {
    retryMs = 250;
    $("#connection").textContent = "connected";
    send({ type: "hello", client: "demo-chat" });
    if (run?.id) send({ type: "subscribe", run_id: run.id, after: run.after });
  };
  socket.onmessage = ({ data }) => receive(JSON.parse(data));
  socket.onclose = () => {
    $("#connection").textContent = "reconnecting…";
    setTimeout(connect, retryMs);
    retryMs = Math.min(retryMs * 2, 5_000);
  };
}

const send = (frame) => socket.send(JSON.stringify(frame));

$("#ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = event.target.prompt.value;
  show(element("div", "message person", prompt));
  const box = show(element("div", "message agent"));
  run = { id: null, after: 0, steps: new Map(), tools: box.appendChild(element("div", "tool")), answer: box.appendChild(element("pre", "")), box };
  const start = { type: "start", request_id: crypto.randomUUID(), agent_id: $("#agent").value, workspace_id: $("#workspace").value, prompt };
  if (conversation) start.conversation_id = conversation;
  send(start);
  busy(true);
  event.target.reset();
});

$("#cancel").addEventListener("click", () => run?.id && send({ type: "cancel", run_id: run.id }));
$("#workspace").addEventListener("change", () => (conversation = null));

function busy(isBusy) {
  $("#send").disabled = isBusy;
  $("#cancel").hidden = !isBusy;
}

function receive(frame) {
  if (frame.seq && run) run.after = frame.seq;
  switch (frame.type) {
    case "started":
      run.id = frame.run_id;
      conversation = frame.conversation_id;
      break;
    case "attempt": // what the superseded attempt streamed no longer counts
      run.steps.get(frame.supersedes)?.remove();
      break;
    case "delta":
      answerOf(frame.step_id).textContent += frame.content;
      break;
    case "tool_call":
      run.tools.append(element("div", "", `→ ${frame.tool}`));
      break;
    case "complete": {
      const { total_tokens, cost } = frame.metadata;
      run.box.append(element("p", "facts", `${total_tokens} tokens, ${cost} USD`));
      return done();
    }
    case "error":
      run?.box.append(element("p", "problem", frame.problem?.detail ?? frame.error));
      return done();
  }
}

function answerOf(stepId) {
  if (!run.steps.has(stepId)) run.steps.set(stepId, run.answer.appendChild(element("span", "")));
  return run.steps.get(stepId);
}

function done() {
  run = null;
  busy(false);
}
