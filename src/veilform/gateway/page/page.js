"use strict";

// Asks the gateway for one answer and shows the run as it goes. Nothing is kept between visits.

const $ = (id) => document.getElementById(id);
const SAMPLES = 3;
const STAGES = {
  embedding: "Masking the words",
  linear: "Linear layers",
  "attention products": "Attention: products",
  "attention function": "Attention: weights",
  activation: "Activation function",
  norm: "Normalising",
  head: "Reading off the answer",
};
let running = null;

function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(1)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

function spaced(hex, most) {
  return hex.slice(0, 2 * most).replace(/(..)(?=.)/g, "$1 ") + (hex.length > 2 * most ? " …" : "");
}

function headers() {
  const token = $("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function loadModels() {
  const response = await fetch("/models", { headers: headers() });
  if (response.status === 401) {
    $("token-field").hidden = false;
    return;
  }
  const { models: all } = await response.json();
  const models = all.filter((model) => model.task !== "image-classification");
  $("model").replaceChildren(
    ...models.map((model) => {
      const option = document.createElement("option");
      option.value = JSON.stringify([model.name, model.version]);
      const only = models.filter((other) => other.name === model.name).length === 1;
      option.textContent = only ? model.name : `${model.name}, version ${model.version}`;
      return option;
    }),
  );
}

/** The events of a text/event-stream, as they come. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2));
      const found = Object.fromEntries(lines);
      yield [found.event, JSON.parse(found.data)];
    }
  }
}

/** One run on the page: counts what passes, and draws at most once a frame. */
class View {
  constructor() {
    this.start = performance.now();
    this.up = this.down = this.number = 0;
    this.of = 1;
    this.stage = "Waiting for a turn";
    this.last = { up: "", down: "" };
    this.samples = { up: [], down: [] };
    this.ended = false;
    this.due = false;
    $("running").hidden = false;
    for (const id of ["said", "wrong", "apart"]) $(id).textContent = "";
    for (const id of ["you-hex", "server-hex"]) $(id).replaceChildren();
    this.draw();
  }

  passed(message) {
    const way = message.sent ? "up" : "down";
    this[way] += message.size;
    this.number = message.number;
    this.of = message.of;
    this.stage = STAGES[message.operation] || message.operation || this.stage;
    if (message.head.length >= 16) {
      this.last[way] = message.head;
      if (this.samples[way].length < SAMPLES) this.samples[way].push(message);
    }
    this.way = way;
    this.later();
  }

  later() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.draw();
    });
  }

  draw() {
    $("progress").max = this.of;
    $("progress").value = this.number;
    $("stage").textContent = this.stage;
    $("count").textContent = this.number ? `${this.number} of ${this.of} messages` : "";
    $("up").textContent = bytes(this.up);
    $("down").textContent = bytes(this.down);
    $("messages").textContent = String(this.number);
    if (!this.ended) {
      $("seconds").textContent = `${((performance.now() - this.start) / 1000).toFixed(2)} s`;
    }
    for (const way of ["up", "down"]) {
      $(`hex-${way}`).textContent = this.last[way] ? spaced(this.last[way], 4) : "masked";
      $(`wire-${way}`).classList.toggle("now", !this.ended && this.way === way);
    }
  }

  answered(answer) {
    this.end("Done");
    const cost = answer.cost;
    const said = $("said");
    if (answer.label === undefined) {
      said.textContent = `A vector of ${answer.embedding.length} numbers`;
      const first = answer.embedding.slice(0, 4).map((each) => each.toFixed(3)).join(", ");
      said.append(small(`${first}, …`));
    } else {
      said.textContent = answer.label;
      said.append(small(`score ${answer.score.toFixed(3)}`));
    }
    $("seconds").textContent = `${cost.online_seconds.toFixed(2)} s`;
    $("up").textContent = bytes(cost.bytes_client_to_server);
    $("down").textContent = bytes(cost.bytes_server_to_client);
    $("messages").textContent = String(cost.messages);
    $("apart").textContent =
      `Before the text, apart from it: ${bytes(cost.offline_bytes)} of random numbers in ` +
      `${cost.offline_seconds.toFixed(2)} s. Waited ${cost.waited_seconds.toFixed(2)} s for a turn.`;
    this.explain(answer);
  }

  explain(answer) {
    const cost = answer.cost;
    $("you-saw").textContent =
      "Your text, and the answer. From the server came " +
      `${bytes(cost.bytes_server_to_client)} of masked numbers; only your masks turn them into the answer.`;
    $("server-saw").textContent =
      `${bytes(cost.bytes_client_to_server)} of masked numbers. Each is a value with a random number ` +
      "added that the server does not know, so to it they are noise. These are the first bytes, as they arrived:";
    $("dealer-saw").textContent =
      `An order: random numbers for ${cost.texts_in_run} text of ${answer.length} padded tokens. ` +
      "Nothing else of what you typed, and nothing of the answer.";
    for (const [id, way] of [["you-hex", "down"], ["server-hex", "up"]]) {
      $(id).replaceChildren(...this.samples[way].map(sample));
    }
    $("picture-text").textContent =
      `You sent the server ${bytes(cost.bytes_client_to_server)} of masked numbers and received ` +
      `${bytes(cost.bytes_server_to_client)}. The dealer gave random numbers to both, and received nothing that depends on the text.`;
  }

  failed(text) {
    this.end("Ended");
    $("wrong").textContent = text;
  }

  end(stage) {
    this.ended = true;
    this.stage = stage;
    this.draw();
  }
}

function small(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span;
}

function sample(message) {
  const item = document.createElement("li");
  const code = document.createElement("code");
  code.textContent = spaced(message.head, 16);
  item.append(`Message ${message.number}, ${bytes(message.size)}`, code);
  return item;
}

async function ask() {
  const view = new View();
  const stop = new AbortController();
  running = stop;
  $("ask").setAttribute("aria-disabled", "true");
  $("stop").hidden = false;
  try {
    if (!$("model").value) await loadModels();
    const [model, version] = JSON.parse($("model").value || "[]");
    const body = { text: $("text").value, model, version };
    if ($("pair").value.trim()) body.text_pair = $("pair").value;
    const response = await fetch("/ui/classify", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers() },
      body: JSON.stringify(body),
      signal: stop.signal,
    });
    if (!response.ok) {
      if (response.status === 401) $("token-field").hidden = false;
      view.failed((await response.json()).error);
      return;
    }
    for await (const [name, data] of events(response)) {
      if (name === "progress") view.passed(data);
      else if (name === "answer") view.answered(data);
      else if (name === "failed") view.failed(data.error);
    }
    if (!view.ended) view.failed("The gateway ended the connection.");
  } catch (error) {
    view.failed(stop.signal.aborted ? "Stopped." : "The gateway cannot be reached.");
  } finally {
    running = null;
    $("ask").removeAttribute("aria-disabled");
    $("stop").hidden = true;
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) ask();
});
$("stop").addEventListener("click", () => {
  $("ask").focus();
  if (running) running.abort();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
$("token").addEventListener("change", () => loadModels().catch(() => {}));
loadModels().catch(() => {});
