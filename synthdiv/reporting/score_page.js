// Looks up documents, groups and rounds. They lie in blocks of JSON that are parsed when they are
// first asked for. Text only ever enters the page through textContent.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const about = JSON.parse(byId("about").textContent);
  const parsed = new Map();
  const block = (name) => {
    if (!parsed.has(name)) parsed.set(name, JSON.parse(byId(`data-${name}`).textContent));
    return parsed.get(name);
  };
  const groups = block("groups");
  const roundAt = (at) => block(`rounds-${Math.floor(at / about.roundsInBlock)}`)[at % about.roundsInBlock];
  const documentAt = (at) => block(`documents-${Math.floor(at / about.documentsInBlock)}`)[at % about.documentsInBlock];
  const nameOf = (cluster) => cluster.name ?? groups[cluster.group].name;

  // Which rounds and groups each document is in, and the other way about: made when first needed.
  let lookup = null;
  const index = () => {
    if (lookup) return lookup;
    lookup = {
      rounds: Array.from({ length: about.documents }, () => []),
      groups: Array.from({ length: about.documents }, () => new Set()),
      inGroup: groups.map(() => ({ documents: new Set(), rounds: new Set() })),
      words: [],
    };
    about.rounds.forEach((_, at) => {
      const round = roundAt(at);
      for (const number of round.documents) lookup.rounds[number].push(at);
      for (const cluster of round.clusters) {
        if (cluster.group === undefined) continue;
        lookup.inGroup[cluster.group].rounds.add(at);
        for (const number of cluster.documents) {
          lookup.groups[number].add(cluster.group);
          lookup.inGroup[cluster.group].documents.add(number);
        }
      }
    });
    return lookup;
  };
  const wordsOf = (number) => {
    const { words } = index();
    if (words[number] === undefined) {
      const [place, id, text, , from] = documentAt(number);
      const named = [...index().groups[number]].map((group) => groups[group].name);
      words[number] = [place, id, ...named, ...from.map(([, value]) => value), text].join("\n").toLowerCase();
    }
    return words[number];
  };

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const link = (hash, text) => {
    const made = element("a", text);
    made.href = `#${hash}`;
    return made;
  };
  const linked = (what, hashes, names, most = 12) => {
    const line = element("p", `${what}: `, "soft");
    hashes.slice(0, most).forEach((hash, at) => line.append(at ? ", " : "", link(hash, names[at])));
    if (hashes.length > most) line.append(` and ${hashes.length - most} more`);
    return line;
  };
  const showDocument = (number, open = false) => {
    const [place, id, text, cut, from] = documentAt(number);
    const box = element("details");
    const line = text.slice(0, 400).trim().replace(/\s+/g, " ");
    const start = line.length > 90 ? `${line.slice(0, 90).replace(/\s\S*$/, "")} …` : line;
    const known = id === String(place) ? "" : ` (${id.length > 60 ? `${id.slice(0, 60)}…` : id})`;
    const summary = element("summary", `Document ${place}${known}: `);
    const begins = element("bdi", start || "(empty)");
    summary.append(begins);
    box.append(summary);
    box.addEventListener("toggle", () => {
      if (box.childElementCount > 1) return;
      const body = element("div", cut ? `${text} …` : text, "text");
      body.tabIndex = 0;
      body.dir = "auto";
      body.setAttribute("role", "group");
      body.setAttribute("aria-label", `Text of document ${place}`);
      box.append(body);
      if (cut) box.append(element("p", `${cut.toLocaleString("en")} more characters in the corpus.`, "soft"));
      if (from.length) {
        const list = element("ul", undefined, "tags");
        for (const [column, value] of from) list.append(element("li", `${about.columns[column]}: ${value}`));
        box.append(list);
      }
      const { rounds, groups: of } = index();
      const named = [...of[number]];
      if (named.length) {
        box.append(linked("In the group", named.map((n) => `show-group-${n}`), named.map((n) => groups[n].name || "(no name)")));
      }
      box.append(linked("In round", rounds[number].map((at) => `round-${about.rounds[at]}`), rounds[number].map((at) => about.rounds[at])));
    });
    box.open = open;
    return box;
  };

  // Documents: by word and by group.
  const PART = 20;
  const search = byId("search");
  const chosen = byId("group");
  const results = byId("results");
  const more = byId("more");
  let hits = [];
  groups.forEach((group, number) => {
    const option = element("option", group.within.length ? `${group.name} (${group.within.join(" › ")})` : group.name || "(no name)");
    option.value = number;
    chosen.append(option);
  });
  const showMore = () => {
    const shown = results.querySelectorAll(":scope > details").length;
    results.append(...hits.slice(shown, shown + PART).map((number) => showDocument(number)));
    more.hidden = shown + PART >= hits.length;
  };
  const find = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const group = chosen.value === "" ? null : Number(chosen.value);
    const among = group === null ? [...Array(about.documents).keys()] : [...index().inGroup[group].documents].sort((a, b) => a - b);
    hits = words.length ? among.filter((number) => words.every((word) => wordsOf(number).includes(word))) : among;
    const said = `${hits.length.toLocaleString("en")} document${hits.length === 1 ? "" : "s"}`;
    byId("hits").textContent = group === null ? said : `${said} in the group ${groups[group].name || "(no name)"}`;
    results.replaceChildren();
    if (group !== null) {
      const { rounds } = index().inGroup[group];
      const at = [...rounds];
      if (groups[group].reason) results.append(element("p", groups[group].reason, "soft"));
      results.append(linked("In round", at.map((n) => `round-${about.rounds[n]}`), at.map((n) => about.rounds[n]), 100));
      if (byId(`group-${group}`)) results.append(link(`group-${group}`, "Back to the group"));
    }
    showMore();
  };
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(find, 120);
  });
  chosen.addEventListener("change", find);
  more.addEventListener("click", showMore);

  // Rounds: one at a time.
  const input = byId("round");
  const filter = byId("filter");
  const state = byId("state");
  const buttons = { previous: byId("previous"), next: byId("next") };
  let place = 0;
  const kept = (at) => filter.value === "all" || about.flags[at].includes(filter.value);
  const seek = (from, step) => {
    for (let at = from; at >= 0 && at < about.rounds.length; at += step) if (kept(at)) return at;
    return -1;
  };
  const show = (at) => {
    place = at;
    const round = roundAt(at);
    input.value = round.round;
    const clusters = round.clusters.map((cluster) => {
      const box = element("section", undefined, cluster.rejected ? "cluster rejected" : "cluster");
      const heading = element("h4");
      const group = groups[cluster.group];
      const called = nameOf(cluster) || "(no name)";
      const same = group !== undefined && cluster.name === undefined;
      heading.append(same ? link(`show-group-${cluster.group}`, called) : called);
      box.append(heading);
      const count = `${cluster.documents.length} of ${round.documents.length} documents`;
      box.append(element("p", cluster.rejected ? `${count}, rejected by self-verification` : count, cluster.rejected ? "bad" : "soft"));
      if (group !== undefined && !same) {
        box.append(linked("Group", [`show-group-${cluster.group}`], [group.name || "(no name)"]));
      }
      if (cluster.reason) box.append(element("p", cluster.reason, "soft"));
      for (const number of cluster.documents) box.append(showDocument(number));
      return box;
    });
    byId("shown").replaceChildren(...clusters);
    const words = [`Round ${round.round}`];
    words.push(round.failed ? "failed: not counted" : `clusters C = ${round.C}, documents in one S = ${round.S.toFixed(2)}, score ${round.score.toFixed(2)}`);
    if (about.policy === "corrected" && !round.failed) words.push(`${round.clusters.length} clusters as sorted, before the corrections that count`);
    if (round.set !== null && about.sets > 1) words.push(`criteria set ${round.set}`);
    if (round.repaired) words.push("repaired");
    state.textContent = words.join("; ");
    buttons.previous.disabled = seek(at - 1, -1) < 0;
    buttons.next.disabled = seek(at + 1, 1) < 0;
  };
  const go = (at) => {
    if (at >= 0) show(at);
    else {
      byId("shown").replaceChildren();
      state.textContent = "No such round.";
      buttons.previous.disabled = buttons.next.disabled = true;
    }
  };
  const nearest = (asked) => {
    let best = 0;
    about.rounds.forEach((number, at) => {
      if (Math.abs(number - asked) < Math.abs(about.rounds[best] - asked)) best = at;
    });
    return best;
  };
  buttons.previous.addEventListener("click", () => go(seek(place - 1, -1)));
  buttons.next.addEventListener("click", () => go(seek(place + 1, 1)));
  filter.addEventListener("change", () => {
    const on = seek(place, 1);
    go(on >= 0 ? on : seek(place, -1));
  });
  input.addEventListener("change", () => show(nearest(Number(input.value))));

  // Addresses: #show-group-3 and #round-17, so that the browser's Back goes back.
  const follow = () => {
    const [, kind, number] = /^#(show-group|round|group)-(\d+)$/.exec(location.hash) ?? [];
    if (kind === "show-group" && groups[number]) {
      chosen.value = number;
      search.value = "";
      find();
      byId("documents").scrollIntoView();
    } else if (kind === "round") {
      filter.value = "all";
      show(nearest(Number(number)));
      byId("rounds").scrollIntoView();
    } else if (kind === "group" && byId(location.hash.slice(1))) {
      for (let box = byId(location.hash.slice(1)); box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
      byId(location.hash.slice(1)).scrollIntoView();
    }
  };
  window.addEventListener("hashchange", follow);

  // Downloads. A cell that a spreadsheet would take for a formula begins with an apostrophe.
  const cell = (value) => {
    const text = String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const csv = (rows) => `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
  const all = (count, at) => Array.from({ length: count }, (_, number) => at(number));
  const contents = {
    "groups.csv": () => csv([
      ["group", "within", "name", "share", "share_of_rounds", "documents", "reason"],
      ...groups.map((g, n) => [n, g.within.join(" > "), g.name, g.share, g.rounds, g.documents, g.reason]),
    ]),
    "documents.csv": () => csv([
      ["document", "id", "groups", "rounds", ...about.columns, "characters_left_out", "text"],
      ...all(about.documents, (number) => {
        const [at, id, text, cut, from] = documentAt(number);
        const values = about.columns.map((_, column) => from.filter(([c]) => c === column).map(([, v]) => v).join("; "));
        const named = [...index().groups[number]].map((group) => groups[group].name).join("; ");
        return [at, id, named, index().rounds[number].map((n) => about.rounds[n]).join(" "), ...values, cut, text];
      }),
    ]),
    "rounds.csv": () => csv([
      ["round", "criteria_set", "C", "S", "score", "repaired", "failed", "cluster", "valid", "documents"],
      ...all(about.rounds.length, roundAt).flatMap((r) => r.clusters.map((c) => [
        r.round, r.set, r.C, r.S, r.score, r.repaired, r.failed, nameOf(c), !c.rejected,
        c.documents.map((number) => documentAt(number)[0]).join(" "),
      ])),
    ]),
    "score.json": () => JSON.stringify(block("score"), null, 1),
    "page.json": () => JSON.stringify({
      score: block("score"), groups, columns: about.columns,
      rounds: all(about.rounds.length, roundAt), documents: all(about.documents, documentAt),
    }),
  };
  for (const button of document.querySelectorAll("button[data-download]")) {
    button.addEventListener("click", () => {
      const name = button.dataset.download;
      const type = name.endsWith(".csv") ? "text/csv" : "application/json";
      const made = element("a");
      made.href = URL.createObjectURL(new Blob([contents[name]()], { type: `${type};charset=utf-8` }));
      made.download = `${about.name.replace(/[^\w.-]+/g, "_").slice(0, 60)}-${name}`;
      made.click();
      setTimeout(() => URL.revokeObjectURL(made.href), 10000);
    });
  }

  for (const hidden of document.querySelectorAll("a.look, #search-part, #browser")) hidden.hidden = false;
  find();
  show(0);
  follow();
})();
