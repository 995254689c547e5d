// Shows one round at a time. Rounds and documents lie in blocks of JSON that are parsed when they are
// first asked for. Text only ever enters the page through textContent.
"use strict";
(() => {
  const about = JSON.parse(document.getElementById("about").textContent);
  const parsed = new Map();
  const block = (kind, number) => {
    const key = `${kind}-${number}`;
    if (!parsed.has(key)) parsed.set(key, JSON.parse(document.getElementById(key).textContent));
    return parsed.get(key);
  };
  const roundAt = (place) => block("rounds", Math.floor(place / about.roundsInBlock))[place % about.roundsInBlock];
  const documentAt = (place) => block("documents", Math.floor(place / about.documentsInBlock))[place % about.documentsInBlock];

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const input = document.getElementById("round");
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const state = document.getElementById("state");
  const buttons = { previous: document.getElementById("previous"), next: document.getElementById("next") };
  let place = 0;

  const kept = (at) => {
    const flags = about.flags[at];
    return filter.value === "all" || flags.includes(filter.value);
  };
  const seek = (from, step) => {
    for (let at = from; at >= 0 && at < about.rounds.length; at += step) if (kept(at)) return at;
    return -1;
  };
  const provenance = (values) => {
    const list = element("ul", undefined, "tags");
    for (const [column, value] of values) list.append(element("li", `${column}: ${value}`));
    return list;
  };
  const showDocument = (number) => {
    const [index, id, text, cut, from] = documentAt(number);
    const box = element("details");
    const line = text.trim().replace(/\s+/g, " ");
    const start = line.length > 90 ? `${line.slice(0, 90)}…` : line;
    const known = id === String(index) ? "" : ` (${id})`;
    box.append(element("summary", `Document ${index}${known}: ${start || "(empty)"}`));
    box.addEventListener("toggle", () => {
      if (box.childElementCount > 1) return;
      const body = element("div", cut ? `${text} …` : text, "text");
      body.tabIndex = 0;
      body.setAttribute("role", "region");
      body.setAttribute("aria-label", `Text of document ${index}`);
      box.append(body);
      if (cut) box.append(element("p", `${cut.toLocaleString()} more characters in the corpus.`, "soft"));
      if (from.length) box.append(provenance(from));
    });
    return box;
  };
  const show = (at) => {
    place = at;
    const round = roundAt(at);
    input.value = round.round;
    const clusters = round.clusters.map((cluster) => {
      const box = element("section", undefined, cluster.valid ? "cluster" : "cluster rejected");
      box.append(element("h4", cluster.name || "(no name)"));
      const verdict = cluster.valid ? "accepted" : "rejected by self-verification";
      box.append(element("p", `${cluster.documents.length} of ${round.size} documents, ${verdict}`, cluster.valid ? "good" : "bad"));
      if (cluster.reason) box.append(element("p", cluster.reason, "soft"));
      for (const number of cluster.documents) box.append(showDocument(number));
      return box;
    });
    shown.replaceChildren(...clusters);
    const words = [`Round ${round.round}`];
    words.push(round.failed ? "failed: not counted" : `C = ${round.C}, S = ${round.S.toFixed(2)}, score ${round.score.toFixed(3)}`);
    if (round.set !== null && about.sets > 1) words.push(`criteria set ${round.set}`);
    if (round.repaired) words.push("repaired");
    state.textContent = words.join("; ");
    buttons.previous.disabled = seek(at - 1, -1) < 0;
    buttons.next.disabled = seek(at + 1, 1) < 0;
  };
  const go = (at) => {
    if (at >= 0) show(at);
    else {
      shown.replaceChildren();
      state.textContent = "No such round.";
      buttons.previous.disabled = buttons.next.disabled = true;
    }
  };
  buttons.previous.addEventListener("click", () => go(seek(place - 1, -1)));
  buttons.next.addEventListener("click", () => go(seek(place + 1, 1)));
  filter.addEventListener("change", () => {
    const on = seek(place, 1);
    go(on >= 0 ? on : seek(place, -1));
  });
  input.addEventListener("change", () => {
    const asked = Number(input.value);
    let nearest = 0;
    about.rounds.forEach((number, at) => {
      if (Math.abs(number - asked) < Math.abs(about.rounds[nearest] - asked)) nearest = at;
    });
    show(nearest);
  });
  document.getElementById("browser").hidden = false;
  show(0);
})();
